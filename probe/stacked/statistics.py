"""Mean and variance over the batch that all processes share."""

from __future__ import annotations

from typing import Any

import torch

from probe.processes import summed, summed_count, together


def batch_statistics(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Mean and biased variance of `values` (k, …, W) over the axes between, and the number of values of each.

    The axes are kept as axes of one. Of bfloat16 data, mean and variance are float32.

    Of several processes, each gives its share of the batch and gets the statistics of the whole; gradients
    flow through them.
    """
    count = values[0, ..., 0].numel()
    own_mean, own_variance = _own_statistics(values)
    if values.is_meta or not together():  # shapes alone are each process's own
        return own_mean, own_variance, float(count)
    total = float(summed_count(count, values.device))
    mean = _Summed.apply(own_mean * count) / total
    squares = (own_variance + (own_mean - mean).square()) * count
    return mean, _Summed.apply(squares) / total, total


def _own_statistics(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and biased variance of this process's values."""
    axes = tuple(range(1, values.ndim - 1))
    wide = torch.promote_types(values.dtype, torch.float32)
    if values.device.type != "cpu" or values.requires_grad or len(values) > 1:
        variance, mean = torch.var_mean(values.to(wide), dim=axes, correction=0, keepdim=True)
        return mean, variance
    # batch norm's own kernel reads data many times faster than `var_mean` does on a CPU, and has no gradient
    running = values.new_zeros(values.shape[-1], dtype=wide)
    mean, variance = torch.batch_norm_update_stats(values.flatten(0, -2), running, running.clone(), 0.0)
    shape = (1, *[1] * len(axes), -1)
    return mean.view(shape), variance.view(shape)


class _Summed(torch.autograd.Function):
    """The sum over all processes. As all of them go on from it, its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        return summed(values.clone())

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return summed(gradients[0].clone())

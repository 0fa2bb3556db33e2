"""Mean and variance over the batch that all processes share."""

from __future__ import annotations

from typing import Any

import torch

from probe.processes import summed, summed_count, together


def batch_statistics(values: torch.Tensor, axes: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Mean and biased variance over `axes`, kept as axes of one, and the number of values of each.

    Of several processes, each gives its share of the batch and gets the statistics of the whole; gradients
    flow through them.
    """
    count = 1
    for axis in axes:
        count *= values.shape[axis]
    if values.is_meta or not together():  # shapes alone are each process's own
        variance, mean = torch.var_mean(values, dim=axes, correction=0, keepdim=True)
        return mean, variance, float(count)
    total = float(summed_count(count, values.device))
    mean = _Summed.apply(values.sum(axes, keepdim=True)) / total
    squares = (values - mean).square().sum(axes, keepdim=True)
    return mean, _Summed.apply(squares) / total, total


class _Summed(torch.autograd.Function):
    """The sum over all processes. As all of them go on from it, its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        return summed(values.clone())

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return summed(gradients[0].clone())

"""Mean and variance over the batch that all processes share."""

from __future__ import annotations

import torch
from torch.distributed.nn.functional import all_reduce

from probe.processes import summed_count, together


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
    mean = all_reduce(values.sum(axes, keepdim=True)) / total
    squares = (values - mean).square().sum(axes, keepdim=True)
    return mean, all_reduce(squares) / total, total

"""Batch norm without parameters, of each trial, over the whole batch of all processes.

In training: the batch's own statistics, and running ones as `torch.nn.BatchNorm1d` keeps them (momentum 0.1,
the unbiased variance). In evaluation: the running ones.
"""

from __future__ import annotations

import torch
from torch import nn

from configs import UserError
from probe.stacked.statistics import batch_statistics

MOMENTUM = 0.1


class RunningStatistics(nn.Module):
    """(1, W) running mean and variance, and how a batch norm gets its moments."""

    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("running_mean", torch.zeros(1, width))
        self.register_buffer("running_var", torch.ones(1, width))

    def moments(
        self, values: torch.Tensor, axes: tuple[int, ...], trials: slice
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and variance by which `values` (k, …, W) are normalised over `axes`, kept as axes of one.

        `trials`: whose running statistics they are.
        """
        if self.training:
            mean, variance, count = batch_statistics(values, axes)
            if count < 2:
                raise UserError("batch norm needs two images or more in a batch to train on")
            with torch.no_grad():
                unbiased = variance * (count / (count - 1))
                for running, now in ((self.running_mean, mean), (self.running_var, unbiased)):
                    running.lerp_(now.flatten(1).to(running.dtype).expand_as(running), MOMENTUM)
        else:
            shape = [1 if axis in axes else size for axis, size in enumerate(values.shape)]
            shape[0] = -1
            mean = self.running_mean[trials].view(shape)
            variance = self.running_var[trials].view(shape)
        return mean, variance

    def normalised(self, values: torch.Tensor, axes: tuple[int, ...], trials: slice) -> torch.Tensor:
        """`values`, normalised by their `moments`."""
        mean, variance = self.moments(values, axes, trials)
        return (values - mean) * torch.rsqrt(variance + self.eps)


class BatchNorm(RunningStatistics):
    """Of one vector for each image: (K, B, W) → (K, B, W).

    Values that all trials share, (1, B, W), are normalised once in training.
    """

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.normalised(values, (1,), slice(None))


class TokenBatchNorm(RunningStatistics):
    """Of the tokens themselves, over images and tokens: (B, N, D) → (B, N, D).

    The trials of a stack have seen the same batches, so that their running statistics are the same: the
    first trial's serve all.
    """

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.normalised(tokens.unsqueeze(0), (1, 2), slice(1))[0]

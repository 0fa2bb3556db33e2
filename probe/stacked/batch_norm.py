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

    def moments(self, values: torch.Tensor, trials: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and variance by which `values` (k, …, W) are normalised over the axes between, kept as axes of
        one.

        `trials`: whose running statistics they are.
        """
        if self.training:
            mean, variance, count = batch_statistics(values)
            if count < 2:
                raise UserError("batch norm needs two images or more in a batch to train on")
            with torch.no_grad():
                unbiased = variance * (count / (count - 1))
                for running, now in ((self.running_mean, mean), (self.running_var, unbiased)):
                    running.lerp_(now.flatten(1).to(running.dtype).expand_as(running), MOMENTUM)
        else:
            shape = (-1, *[1] * (values.ndim - 2), values.shape[-1])
            mean = self.running_mean[trials].view(shape)
            variance = self.running_var[trials].view(shape)
        return mean, variance


class BatchNorm(RunningStatistics):
    """Of one vector for each image: (K, B, W) → (K, B, W).

    Values that all trials share, (1, B, W), are normalised once in training.
    """

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        mean, variance = self.moments(values, slice(None))
        normed = (values - mean) * torch.rsqrt(variance + self.eps)
        return normed.to(values.dtype)  # moments of bfloat16 are float32


class TokenBatchNorm(RunningStatistics):
    """Of the tokens themselves, over images and tokens: x̂ = x · scale + shift.

    The trials of a stack have seen the same batches, so that their running statistics are the same: the
    first trial's serve all. Tokens are data: they get no gradient.
    """

    def scale_and_shift(self, tokens_BND: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Both (D,). A pooling takes them into its queries and what it pools, and never makes x̂."""
        mean, variance = self.moments(tokens_BND.detach().unsqueeze(0), slice(1))
        scale = torch.rsqrt(variance + self.eps).flatten()
        return scale, -mean.flatten() * scale

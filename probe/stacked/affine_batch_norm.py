"""Batch norm with a weight and a bias, of each trial, over images and tokens."""

from __future__ import annotations

import torch
from torch import nn

from probe.stacked.batch_norm import RunningStatistics


class AffineBatchNorm(RunningStatistics):
    """(K, …, W) → (K, …, W), over all axes between; weight (K, W) starts at 1, bias (K, W) at 0.

    As `torch.nn.BatchNorm2d`. Given the statistics it is one multiplication and one addition: it keeps its
    input alone for the gradient, and a linear map before or after it may take them in.
    """

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__(width, eps)
        self.weight = nn.Parameter(torch.ones(1, width))
        self.bias = nn.Parameter(torch.zeros(1, width))

    def scale_and_shift(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What `values` (K, …, W) are multiplied by, and what is added then: both (K, 1, …, 1, W)."""
        mean, variance = self.moments(values, slice(None))
        shape = (-1, *[1] * (values.ndim - 2), values.shape[-1])
        scale = self.weight.view(shape) * torch.rsqrt(variance + self.eps)
        return scale, self.bias.view(shape) - mean * scale

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        scale, shift = self.scale_and_shift(values)
        return torch.addcmul(shift, values, scale).to(values.dtype)  # moments of bfloat16 are float32

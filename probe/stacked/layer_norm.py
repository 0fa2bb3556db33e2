"""A layer norm of each trial."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class LayerNorm(nn.Module):
    """x̂ · weight_k + bias_k over the last axis; weight and bias (K, D).

    Where its result goes through a linear map alone, a pooling takes `normalised` tokens, which all trials
    share, and applies weight and bias to what it pooled.
    """

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(1, dim))
        self.bias = nn.Parameter(torch.zeros(1, dim))

    def normalised(self, values: torch.Tensor) -> torch.Tensor:
        """(…, D) → x̂ = (x − mean) / √(variance + eps)."""
        return F.layer_norm(values, values.shape[-1:], eps=self.eps)

    def affine(self, normalised: torch.Tensor) -> torch.Tensor:
        """x̂ (K or 1, …, D) → (K, …, D)."""
        shape = (-1, *[1] * (normalised.ndim - 2), normalised.shape[-1])
        return normalised * self.weight.view(shape) + self.bias.view(shape)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """(K or 1, …, D) → (K, …, D)."""
        return self.affine(self.normalised(values))

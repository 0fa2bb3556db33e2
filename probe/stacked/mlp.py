"""The transformer's two-layer perceptron, of each trial."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from probe.stacked.linear import Linear


class MLP(nn.Module):
    """Linear → GELU → Linear; (K, …, D) → (K, …, D) through `ratio` · D channels."""

    def __init__(self, dim: int, ratio: int = 4) -> None:
        super().__init__()
        self.inner = Linear(dim, ratio * dim)
        self.outer = Linear(ratio * dim, dim)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.outer(F.gelu(self.inner(values)))
        return found

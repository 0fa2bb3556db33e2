"""A linear layer of each trial."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class Linear(nn.Module):
    """y_k = W_k x_k + b_k. Starts as `torch.nn.Linear` does; weight (K, O, I), bias (K, O)."""

    bias: nn.Parameter | None

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__()
        weight = torch.empty(outputs, inputs)
        nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
        self.weight = nn.Parameter(weight.unsqueeze(0))
        bound = 1 / math.sqrt(inputs)
        self.bias = nn.Parameter(torch.empty(1, outputs).uniform_(-bound, bound)) if bias else None

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """(K, …, I), or (1, …, I) for all trials → (K, …, O)."""
        trials, outputs, _ = self.weight.shape
        if len(values) == 1:  # one product for all trials
            bias = None if self.bias is None else self.bias.flatten()
            shared = F.linear(values[0], self.weight.flatten(0, 1), bias)
            return torch.unflatten(shared, -1, (trials, outputs)).movedim(-2, 0)
        found = _StackedProduct.apply(values.flatten(1, -2), self.weight)
        if self.bias is not None:
            found = found + self.bias.unsqueeze(1)
        return torch.unflatten(found, 1, values.shape[1:-1])


class _StackedProduct(torch.autograd.Function):
    """rows (K, R, I), weight (K, O, I) → (K, R, O). The weight's gradient has the weight's own layout."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(rows, weight)
        return torch.bmm(rows, weight.mT)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
        (gradient,) = gradients
        rows, weight = ctx.saved_tensors
        of_rows = torch.bmm(gradient, weight) if ctx.needs_input_grad[0] else None
        return of_rows, torch.bmm(gradient.mT, rows)

"""Efficient probing (EP): a few learned queries attend to the raw tokens (arXiv 2506.10178).

    a_j = softmax_n(q_j · x_n / √D)          j = 1 … M, no key projection, no norm
    y_j = W_j (Σ_n a_jn x_n)                 W_j: D → D_o / M, no bias
    y   = [y_1 … y_M]                        no output projection

The paper projects the values first, y_j = Σ_n a_jn W_j x_n. Both are the same function, as W_j is linear;
pooling first never makes the N × D_o values: per image M·N·D + D·D_o multiplications instead of
N·D·D_o + N·D_o for the value path.

Shape suffixes: B images, N tokens, D channels, M queries, O output channels of one query.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from configs import UserError


class EfficientPooling(nn.Module):
    """Tokens (B, N, D) → (B, D / d_out). Parameters: M·D + D²/d_out.

    Raises `UserError` unless M · d_out divides D.
    """

    def __init__(self, dim: int, num_queries: int = 32, d_out: int = 1) -> None:
        super().__init__()
        if dim % d_out:
            fitting = [d for d in range(1, dim + 1) if dim % d == 0]
            raise UserError(
                f"output divisor {d_out} does not divide the token width {dim}: use {_near(d_out, fitting)}"
            )
        if dim % (num_queries * d_out):
            fitting = [m for m in range(1, dim + 1) if dim % (m * d_out) == 0]
            raise UserError(
                f"{num_queries} queries × output divisor {d_out} do not divide the token width {dim}: "
                f"use {_near(num_queries, fitting)} queries"
            )
        self.out_dim = dim // d_out
        self.queries_MD = nn.Parameter(0.02 * torch.randn(num_queries, dim))
        projection = torch.empty(self.out_dim, dim)
        nn.init.kaiming_uniform_(projection, a=math.sqrt(5))  # as nn.Linear(dim, out_dim)
        self.values_MOD = nn.Parameter(projection.view(num_queries, -1, dim))

    def attention(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """(B, N, D) → (B, M, N): where each query looks; rows sum to 1."""
        scale = tokens_BND.shape[-1] ** -0.5
        return torch.softmax((self.queries_MD * scale) @ tokens_BND.mT, dim=-1)

    def forward(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        pooled_MBD = (self.attention(tokens_BND) @ tokens_BND).transpose(0, 1)
        return (pooled_MBD @ self.values_MOD.mT).permute(1, 0, 2).flatten(1)


def _near(wanted: int, fitting: list[int]) -> str:
    """The three of `fitting` that are nearest to `wanted`."""
    return ", ".join(map(str, sorted(sorted(fitting, key=lambda m: abs(m - wanted))[:3])))

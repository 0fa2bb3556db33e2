"""Efficient probing (EP): a few learned queries attend to the raw tokens (arXiv 2506.10178).

    a_j = softmax_n(q_j · x_n / √D)          j = 1 … M, no key projection, no norm
    y_j = W_j (Σ_n a_jn x_n)                 W_j: D → D_o / M, no bias
    y   = [y_1 … y_M]                        no output projection

The paper projects the values first, y_j = Σ_n a_jn W_j x_n. Both are the same function, as W_j is linear;
pooling first never makes the N × D_o values: per image M·N·D + D·D_o multiplications instead of
N·D·D_o + N·D_o for the value path.

Shape suffixes: K trials, B images, N tokens, D channels, M queries, O output channels.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from configs import UserError
from probe.poolings.description import Description
from probe.poolings.divisors import nearest_divisors
from probe.poolings.query_pooling import FoldedQueryPooling
from probe.stacked import Linear, project_heads


class EfficientPooling(FoldedQueryPooling):
    """Tokens (B, N, D) → (K, B, D / d_out). Parameters: M·D + D²/d_out.

    Raises `UserError` unless M · d_out divides D.
    """

    reduced_precision: ClassVar = True  # the tokens meet `attend` alone

    description: ClassVar = Description(
        query="M learned vectors",
        keys="the tokens",
        values="W_V x, without bias, in M chunks",
        attention="softmax over tokens, scaled by 1/√D; query j pools chunk j",
        output="the chunks side by side",
        reference="efficient probing, arXiv 2506.10178",
    )

    def __init__(self, dim: int, num_queries: int = 32, d_out: int = 1) -> None:
        super().__init__()
        if dim % d_out:
            raise UserError(
                f"output divisor {d_out} does not divide the token width {dim}: "
                f"use {nearest_divisors(d_out, dim)}"
            )
        if dim % (num_queries * d_out):
            raise UserError(
                f"{num_queries} queries × output divisor {d_out} do not divide the token width {dim}: "
                f"use {nearest_divisors(num_queries, dim // d_out)} queries"
            )
        self.out_dim = dim // d_out
        self.queries_KMD = nn.Parameter(0.02 * torch.randn(1, num_queries, dim))
        self.values = Linear(dim, self.out_dim, bias=False)

    def queries(self) -> torch.Tensor:
        scaled: torch.Tensor = self.queries_KMD * self.queries_KMD.shape[-1] ** -0.5
        return scaled

    def finish(self, pooled_KBMD: torch.Tensor) -> torch.Tensor:
        return project_heads(pooled_KBMD, self.values.weight)

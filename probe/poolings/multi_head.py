"""Multi-head cross-attention (MHCA): the baseline that the EP paper takes apart (arXiv 2506.10178).

    q = W_Q u                                  u: one learned vector
    a_h = softmax_n(q_h · (W_K x_n)_h / √E)    h = 1 … H, E = D / H
    y_h = Σ_n a_hn (W_V x_n)_h
    y   = [y_1 … y_H]                          no output projection

Computed pool first, project after: head h attends to raw tokens with W_Kᵀ q_h, and W_V meets what was pooled.

Shape suffixes: K trials, B images, N tokens, D channels.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from probe.poolings.description import Description
from probe.poolings.divisors import check_heads
from probe.poolings.query_pooling import FoldedQueryPooling
from probe.stacked import Linear, head_queries, project_heads


class MultiHeadPooling(FoldedQueryPooling):
    """Tokens (B, N, D) → (K, B, D). Parameters: 3 D² + D.

    The vector starts as 0.02 · normal noise, as the paper's code starts those of EP and AIM, the projections
    as linear layers do. Raises `UserError` unless `heads` divides D.
    """

    reduced_precision: ClassVar = True  # the tokens meet `attend` alone

    description: ClassVar = Description(
        query="W_Q u, u one learned vector",
        keys="W_K x, without bias",
        values="W_V x, without bias",
        attention="softmax over tokens in each head, scaled by 1/√(D/H)",
        output="the heads side by side",
        reference="efficient probing's baseline, arXiv 2506.10178",
    )

    def __init__(self, dim: int, heads: int = 8) -> None:
        super().__init__()
        check_heads(heads, dim)
        self.heads = heads
        self.out_dim = dim
        self.input_K1D = nn.Parameter(0.02 * torch.randn(1, 1, dim))
        self.query = Linear(dim, dim, bias=False)
        self.keys = Linear(dim, dim, bias=False)
        self.values = Linear(dim, dim, bias=False)

    def queries(self) -> torch.Tensor:
        return head_queries(self.query(self.input_K1D).squeeze(1), self.keys.weight, self.heads)

    def finish(self, pooled_KBHD: torch.Tensor) -> torch.Tensor:
        return project_heads(pooled_KBHD, self.values.weight)

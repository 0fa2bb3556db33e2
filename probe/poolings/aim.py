"""AIM's attentive probe: one learned query, tokens under a batch norm (arXiv 2401.08541).

    x̃ = BatchNorm(x) over images and tokens, without parameters
    a_h = softmax_n(q_h · (W_K x̃_n)_h / √E)    h = 1 … H, E = D / H
    y_h = Σ_n a_hn (W_V x̃_n)_h
    y   = [y_1 … y_H]                          no output projection

Computed pool first, project after: head h attends to x̃ with W_Kᵀ q_h, and W_V meets what was pooled. With
x̃ = x · scale + shift, the scale joins the queries (the shift adds the same to the scores of all tokens), and
both meet what was pooled of the tokens as they are.

Shape suffixes: K trials, B images, N tokens, D channels.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from probe.poolings.description import Description
from probe.poolings.divisors import check_heads
from probe.poolings.query_pooling import QueryPooling, even
from probe.stacked import Linear, TokenBatchNorm, attend, attention_weights, head_queries, project_heads

NORM_EPS = 1e-6


class AIMPooling(QueryPooling):
    """Tokens (B, N, D) → (K, B, D). Parameters: 2 D² + D.

    The query starts as 0.02 · normal noise, the projections as linear layers do. Raises `UserError` unless
    `heads` divides D.
    """

    description: ClassVar = Description(
        query="one learned vector, split among the heads",
        keys="W_K BN(x), without bias",
        values="W_V BN(x), without bias",
        attention="softmax over tokens in each head, scaled by 1/√(D/H)",
        output="the heads side by side",
        reference="AIM, arXiv 2401.08541, apple/ml-aim aim-v1/aim/v1/torch/layers.py",
    )

    def __init__(self, dim: int, heads: int = 16) -> None:
        super().__init__()
        check_heads(heads, dim)
        self.heads = heads
        self.out_dim = dim
        self.query_K1D = nn.Parameter(0.02 * torch.randn(1, 1, dim))
        self.norm = TokenBatchNorm(dim, NORM_EPS)
        self.keys = Linear(dim, dim, bias=False)
        self.values = Linear(dim, dim, bias=False)

    def _queries(self) -> torch.Tensor:
        return head_queries(self.query_K1D.squeeze(1), self.keys.weight, self.heads)

    def attention(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """(B, N, D) → (K, B, heads, N); rows sum to 1."""
        scale, _ = self.norm.scale_and_shift(tokens_BND)
        return attention_weights(tokens_BND, self._queries() * scale)

    def pool(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        scale, shift = self.norm.scale_and_shift(tokens_BND)
        return torch.addcmul(shift, attend(tokens_BND, self._queries() * scale), scale)

    def pool_evenly(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        scale, shift = self.norm.scale_and_shift(tokens_BND)
        return torch.addcmul(shift, even(tokens_BND), scale)

    def finish(self, pooled_KBHD: torch.Tensor) -> torch.Tensor:
        return project_heads(pooled_KBHD, self.values.weight)

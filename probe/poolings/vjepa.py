"""V-JEPA's attentive probe: a transformer block of one query that attends to the tokens (arXiv 2404.08471).

    z = u + CrossAttention(u, LayerNorm(x))    u: one learned vector, itself without a norm
    y = z + MLP(LayerNorm(z))

`probe.stacked.cross_attention` has the formula. V-JEPA's own code makes an output projection of the attention
and does not apply it; the EP paper's code applies it, and so does this.

Shape suffixes: K trials, B images, N tokens, D channels.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import nn

from probe.poolings.description import Description
from probe.poolings.divisors import check_heads
from probe.poolings.query_pooling import QueryPooling, even
from probe.stacked import MLP, LayerNorm
from probe.stacked.cross_attention import CrossAttention
from probe.stacked.start import start_linears


class VJEPAPooling(QueryPooling):
    """Tokens (B, N, D) → (K, B, D). Parameters: 12 D² + 14 D.

    Query and weights start as a normal of 0.02, cut at ±2, biases at 0; the weights before each sum are
    divided by √2. Raises `UserError` unless `heads` divides D.
    """

    description: ClassVar = Description(
        query="W_Q u + b, u one learned vector",
        keys="W_K LN(x) + b",
        values="W_V LN(x) + b",
        attention="softmax over tokens in each head, scaled by 1/√(D/H)",
        output="linear, added to u; then a residual MLP of its LN",
        reference="V-JEPA, arXiv 2404.08471, facebookresearch/jepa src/models/attentive_pooler.py",
    )

    def __init__(self, dim: int, heads: int = 16) -> None:
        super().__init__()
        check_heads(heads, dim)
        self.out_dim = dim
        self.query_K1D = nn.Parameter(torch.empty(1, 1, dim))
        nn.init.trunc_normal_(self.query_K1D, std=0.02)
        self.token_norm = LayerNorm(dim)
        self.cross_attention = CrossAttention(dim, heads)
        self.mlp_norm = LayerNorm(dim)
        self.mlp = MLP(dim)
        start_linears(self)
        with torch.no_grad():
            for last in (self.cross_attention.output, self.mlp.outer):
                last.weight.div_(math.sqrt(2))

    def attention(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """(B, N, D) → (K, B, heads, N); rows sum to 1."""
        return self.cross_attention.attention(tokens_BND, self.query_K1D, self.token_norm)

    def pool(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        return self.cross_attention.pool(tokens_BND, self.query_K1D, self.token_norm)

    def pool_evenly(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        return even(self.token_norm.normalised(tokens_BND))

    def finish(self, pooled_KBHD: torch.Tensor) -> torch.Tensor:
        attended = self.query_K1D + self.cross_attention.project(pooled_KBHD, self.token_norm)
        found: torch.Tensor = attended + self.mlp(self.mlp_norm(attended))
        return found

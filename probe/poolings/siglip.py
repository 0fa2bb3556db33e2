"""SigLIP's attention pooling: cross-attention of one latent, then a residual MLP (arXiv 2303.15343).

    z = CrossAttention(u, x)    u: one learned vector; the formula is in `probe.stacked.cross_attention`
    y = z + MLP(z)              without a norm, as the EP paper's code has it

Shape suffixes: K trials, B images, N tokens, D channels.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from probe.poolings.description import Description
from probe.poolings.divisors import check_heads
from probe.poolings.query_pooling import QueryPooling, even
from probe.stacked import MLP
from probe.stacked.cross_attention import CrossAttention


class SigLIPPooling(QueryPooling):
    """Tokens (B, N, D) → (K, B, D). Parameters: 12 D² + 10 D.

    The latent starts as a normal of 1/√D, cut at two deviations, the rest as PyTorch's layers do. Raises
    `UserError` unless `heads` divides D.
    """

    description: ClassVar = Description(
        query="W_Q u + b, u one learned vector",
        keys="W_K x + b",
        values="W_V x + b",
        attention="softmax over tokens in each head, scaled by 1/√(D/H)",
        output="linear, then a residual MLP",
        reference="SigLIP, arXiv 2303.15343, timm's AttentionPoolLatent",
    )

    def __init__(self, dim: int, heads: int = 8) -> None:
        super().__init__()
        check_heads(heads, dim)
        self.out_dim = dim
        self.latent_K1D = nn.Parameter(torch.empty(1, 1, dim))
        std = dim**-0.5
        nn.init.trunc_normal_(self.latent_K1D, std=std, a=-2 * std, b=2 * std)
        self.cross_attention = CrossAttention(dim, heads)
        self.mlp = MLP(dim)

    def attention(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """(B, N, D) → (K, B, heads, N); rows sum to 1."""
        return self.cross_attention.attention(tokens_BND, self.latent_K1D)

    def pool(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        return self.cross_attention.pool(tokens_BND, self.latent_K1D)

    def pool_evenly(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        return even(tokens_BND)

    def finish(self, pooled_KBHD: torch.Tensor) -> torch.Tensor:
        attended = self.cross_attention.project(pooled_KBHD)
        found: torch.Tensor = attended + self.mlp(attended)
        return found

"""SimPool without projections, in several heads (efficient probing's `SimPool_nolinears`, arXiv 2506.10178).

    a_h = softmax_n(LayerNorm(mean_n x_n)_h · LayerNorm(x_n)_h / √E)    h = 1 … H, E = D / H
    y_h = Σ_n a_hn (x_n)_h
    y   = [y_1 … y_H]

Both norms are one and the same; its weight and bias are all that is learned. Each head sees its own E
channels of a token alone, so that queries have E channels too and all trials share the chunks of the tokens.

Shape suffixes: K trials, B images, N tokens, D channels, H heads, E = D / H.
"""

from __future__ import annotations

from typing import ClassVar

import torch

from probe.poolings.description import Description
from probe.poolings.divisors import check_heads
from probe.poolings.query_pooling import QueryPooling
from probe.stacked import LayerNorm

NORM_EPS = 1e-6


class ESimPool(QueryPooling):
    """Tokens (B, N, D) → (K, B, D). Parameters: 2 D, weight 1 and bias 0 at the start.

    Raises `UserError` unless `heads` divides D.
    """

    description: ClassVar = Description(
        query="LN of the mean token",
        keys="LN(x), the same norm",
        values="the tokens",
        attention="softmax over tokens in each head, scaled by 1/√(D/H)",
        output="the heads side by side",
        reference="efficient probing, arXiv 2506.10178, poolings/simpool.py",
    )

    def __init__(self, dim: int, heads: int = 12) -> None:
        super().__init__()
        check_heads(heads, dim)
        self.heads = heads
        self.out_dim = dim
        self.norm = LayerNorm(dim, NORM_EPS)

    def _split(self, values: torch.Tensor) -> torch.Tensor:
        """(B, N, D) → (B, H, N, E)."""
        return values.view(*values.shape[:2], self.heads, -1).transpose(1, 2)

    def _weights(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """(B, N, D) → (B, H, K, N)."""
        asked_KBD = self.norm(tokens_BND.mean(dim=1).unsqueeze(0)) * self.norm.weight.unsqueeze(1)
        queries_BHKE = self._split(asked_KBD.transpose(0, 1))
        keys_BHNE = self._split(self.norm.normalised(tokens_BND))
        scale = queries_BHKE.shape[-1] ** -0.5
        return torch.softmax(scale * queries_BHKE @ keys_BHNE.mT, dim=-1)

    def attention(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """(B, N, D) → (K, B, heads, N); rows sum to 1."""
        return self._weights(tokens_BND).movedim(2, 0)

    def pool(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        pooled_BHKE = self._weights(tokens_BND) @ self._split(tokens_BND)
        return pooled_BHKE.movedim(2, 0)

    def pool_evenly(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        return self._split(tokens_BND).mean(dim=2).unsqueeze(0)

    def finish(self, pooled_KBHE: torch.Tensor) -> torch.Tensor:
        return pooled_KBHE.flatten(2)

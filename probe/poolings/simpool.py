"""SimPool: the mean token asks which tokens to pool (arXiv 2309.06891).

    x̃ = LayerNorm(x)
    a = softmax_n((W_Q mean_n x_n) · (W_K x̃_n) / √D)
    y = Σ_n a_n x̃_n

The values are the normed tokens themselves. W_K and the norm's weight join the query; the norm's weight and
bias meet what was pooled.

Shape suffixes: K trials, B images, N tokens, D channels.
"""

from __future__ import annotations

from typing import ClassVar

import torch

from probe.poolings.description import Description
from probe.poolings.query_pooling import QueryPooling, even
from probe.stacked import LayerNorm, Linear, attend, attention_weights, head_queries

NORM_EPS = 1e-6


class SimPool(QueryPooling):
    """Tokens (B, N, D) → (K, B, D). Parameters: 2 D² + 2 D. All layers start as PyTorch's do."""

    description: ClassVar = Description(
        query="W_Q of the mean token, without bias",
        keys="W_K LN(x), without bias",
        values="LN(x)",
        attention="softmax over tokens, one head, scaled by 1/√D",
        output="the pooled token",
        reference="SimPool, arXiv 2309.06891, billpsomas/simpool sp.py",
    )

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.out_dim = dim
        self.norm = LayerNorm(dim, NORM_EPS)
        self.query = Linear(dim, dim, bias=False)
        self.keys = Linear(dim, dim, bias=False)

    def _queries(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """(B, N, D) → (K, B, 1, D), for tokens normed without weight and bias."""
        queries_KBD = self.query(tokens_BND.mean(dim=1).unsqueeze(0))
        weight_K11D = self.norm.weight[:, None, None]
        return head_queries(queries_KBD, self.keys.weight, heads=1) * weight_K11D

    def attention(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """(B, N, D) → (K, B, 1, N); rows sum to 1."""
        return attention_weights(self.norm.normalised(tokens_BND), self._queries(tokens_BND))

    def pool(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        return attend(self.norm.normalised(tokens_BND), self._queries(tokens_BND))

    def pool_evenly(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        return even(self.norm.normalised(tokens_BND))

    def finish(self, pooled_KB1D: torch.Tensor) -> torch.Tensor:
        return self.norm.affine(pooled_KB1D.squeeze(2))

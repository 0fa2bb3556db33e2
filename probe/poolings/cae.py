"""CAE's attentive probe: cross-attention of one query, three norms, an output projection (arXiv 2202.03026).

    q = W_Q LN_q(u)                                  u: one learned vector, zero at the start
    a_h = softmax_n(q_h · (W_K LN_k(x_n))_h / √E)    h = 1 … H, E = D / H
    y   = W_O [Σ_n a_hn (W_V LN_v(x_n))_h]_h + b_O

W_K and the weight of LN_k join the query; weight and bias of LN_v, and then W_V, meet what was pooled. LN_k's
bias adds the same to the scores of all tokens, so it has no effect and no gradient.

Shape suffixes: K trials, B images, N tokens, D channels.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from probe.poolings.description import Description
from probe.poolings.divisors import check_heads
from probe.poolings.query_pooling import QueryPooling, even
from probe.stacked import LayerNorm, Linear, attend, attention_weights, head_queries, project_heads


class CAEPooling(QueryPooling):
    """Tokens (B, N, D) → (K, B, D). Parameters: 4 D² + 10 D.

    All layers start as PyTorch's do, as in the EP paper's code. Raises `UserError` unless `heads` divides D.
    """

    description: ClassVar = Description(
        query="W_Q LN(u), u one learned vector",
        keys="W_K LN(x), without bias",
        values="W_V LN(x), without bias",
        attention="softmax over tokens in each head, scaled by 1/√(D/H)",
        output="linear",
        reference="CAE, arXiv 2202.03026, lxtGH/CAE models/modeling_finetune.py",
    )

    def __init__(self, dim: int, heads: int = 8) -> None:
        super().__init__()
        check_heads(heads, dim)
        self.heads = heads
        self.out_dim = dim
        self.query_K1D = nn.Parameter(torch.zeros(1, 1, dim))
        self.query_norm = LayerNorm(dim)
        self.key_norm = LayerNorm(dim)
        self.value_norm = LayerNorm(dim)
        # published and never used: it is in the published count
        self.unused_norm = LayerNorm(dim)
        self.query = Linear(dim, dim, bias=False)
        self.keys = Linear(dim, dim, bias=False)
        self.values = Linear(dim, dim, bias=False)
        self.output = Linear(dim, dim)

    def _queries(self) -> torch.Tensor:
        """(K, heads, D), for tokens normed without weight and bias."""
        query_KD = self.query(self.query_norm(self.query_K1D)).squeeze(1)
        return head_queries(query_KD, self.keys.weight, self.heads) * self.key_norm.weight.unsqueeze(1)

    def attention(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """(B, N, D) → (K, B, heads, N); rows sum to 1."""
        return attention_weights(self.key_norm.normalised(tokens_BND), self._queries())

    def pool(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        return attend(self.key_norm.normalised(tokens_BND), self._queries())

    def pool_evenly(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        return even(self.key_norm.normalised(tokens_BND))

    def finish(self, pooled_KBHD: torch.Tensor) -> torch.Tensor:
        values = project_heads(self.value_norm.affine(pooled_KBHD), self.values.weight)
        found: torch.Tensor = self.output(values)
        return found

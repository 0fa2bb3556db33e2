"""One query of each trial attends to the tokens in several heads.

    q = W_Q u + b_Q
    a_h = softmax_n(q_h · (W_K x_n + b_K)_h / √E)    h = 1 … H, E = D / H
    y   = W_O [Σ_n a_hn (W_V x_n + b_V)_h]_h + b_O

Computed pool first, project after: head h attends to the tokens with W_Kᵀ q_h; W_V and b_V meet what was
pooled. b_K adds the same to the scores of all tokens, so it has no effect and no gradient. Of tokens under a
layer norm, trials share the normed ones: its weight joins the query, weight and bias meet what was pooled.

Shape suffixes: K trials, B images, N tokens, D channels.
"""

from __future__ import annotations

import torch
from torch import nn

from probe.stacked.attend import attend, attention_weights
from probe.stacked.heads import head_queries, project_heads
from probe.stacked.layer_norm import LayerNorm
from probe.stacked.linear import Linear


class CrossAttention(nn.Module):
    """Tokens (B, N, D) and a query (K, 1, D) → (K, B, D). Parameters: 4 D² + 4 D; starts as linear layers do.

    `norm`: what the tokens go through first.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = Linear(dim, dim)
        self.keys_values = Linear(dim, 2 * dim)
        self.output = Linear(dim, dim)

    def _queries(self, query_K1D: torch.Tensor, norm: LayerNorm | None) -> torch.Tensor:
        key_weight, _ = self.keys_values.weight.chunk(2, dim=1)
        queries = head_queries(self.query(query_K1D).squeeze(1), key_weight, self.heads)
        return queries if norm is None else queries * norm.weight.unsqueeze(1)

    def attention(
        self, tokens_BND: torch.Tensor, query_K1D: torch.Tensor, norm: LayerNorm | None = None
    ) -> torch.Tensor:
        """(K, B, heads, N); rows sum to 1."""
        tokens_BND = tokens_BND if norm is None else norm.normalised(tokens_BND)
        return attention_weights(tokens_BND, self._queries(query_K1D, norm))

    def pool(
        self, tokens_BND: torch.Tensor, query_K1D: torch.Tensor, norm: LayerNorm | None = None
    ) -> torch.Tensor:
        """(K, B, heads, D): what each head pools, of tokens normed without weight and bias."""
        tokens_BND = tokens_BND if norm is None else norm.normalised(tokens_BND)
        return attend(tokens_BND, self._queries(query_K1D, norm))

    def project(self, pooled: torch.Tensor, norm: LayerNorm | None = None) -> torch.Tensor:
        """(K, B, heads, D) → (K, B, D)."""
        pooled = pooled if norm is None else norm.affine(pooled)
        _, value_weight = self.keys_values.weight.chunk(2, dim=1)
        assert self.keys_values.bias is not None
        _, value_bias = self.keys_values.bias.chunk(2, dim=1)
        found: torch.Tensor = self.output(project_heads(pooled, value_weight) + value_bias.unsqueeze(1))
        return found

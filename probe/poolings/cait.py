"""CaiT's class attention: a learned class token attends to the tokens and to itself (arXiv 2103.17239).

    u   = LayerNorm([c, x_1 … x_N])                  c: the class token
    a_h = softmax_n((W_Q u_0 + b_Q)_h · (W_K u_n + b_K)_h / √E)    n = 0 … N, h = 1 … H, E = D / H
    z   = c + γ₁ (W_O [Σ_n a_hn (W_V u_n + b_V)_h]_h + b_O)
    y   = LayerNorm(z + γ₂ MLP(LayerNorm(z)))

Computed pool first, project after. W_K and the first norm's weight join the query; that norm's weight and
bias, and then W_V and b_V, meet what was pooled. b_K adds the same to the scores of all tokens, so it has no
effect and no gradient; so does what the norm's bias does to the keys.

Shape suffixes: K trials, B images, N tokens, H heads, Q = K·H, D channels.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from probe.poolings.description import Description
from probe.poolings.divisors import check_heads
from probe.poolings.query_pooling import QueryPooling
from probe.stacked import MLP, LayerNorm, Linear, head_queries, project_heads

BLOCK_NORM_EPS = 1e-6
LAYER_SCALE = 1e-5


class CaiTPooling(QueryPooling):
    """Tokens (B, N, D) → (K, B, D). Parameters: 12 D² + 18 D.

    The class token starts as a normal of 0.02, cut at ±2, γ₁ and γ₂ at 1e-5, the rest as PyTorch's layers do.
    Raises `UserError` unless `heads` divides D.
    """

    description: ClassVar = Description(
        query="W_Q LN(c) + b, c a learned class token",
        keys="W_K LN(x) + b, of c too",
        values="W_V LN(x) + b, of c too",
        attention="softmax over c and tokens in each head, scaled by 1/√(D/H)",
        output="linear and residual MLP, each under LayerScale; LN",
        reference="CaiT, arXiv 2103.17239, facebookresearch/deit cait_models.py",
    )

    def __init__(self, dim: int, heads: int = 4) -> None:
        super().__init__()
        check_heads(heads, dim)
        self.heads = heads
        self.out_dim = dim
        self.attention_norm = LayerNorm(dim, BLOCK_NORM_EPS)
        self.query = Linear(dim, dim)
        self.keys = Linear(dim, dim)
        self.values = Linear(dim, dim)
        self.output = Linear(dim, dim)
        self.mlp_norm = LayerNorm(dim, BLOCK_NORM_EPS)
        self.mlp = MLP(dim)
        self.attention_scale_KD = nn.Parameter(torch.full((1, dim), LAYER_SCALE))
        self.mlp_scale_KD = nn.Parameter(torch.full((1, dim), LAYER_SCALE))
        self.output_norm = LayerNorm(dim)
        self.class_token_K1D = nn.Parameter(torch.empty(1, 1, dim))
        nn.init.trunc_normal_(self.class_token_K1D, std=0.02)

    def _own(self) -> torch.Tensor:
        """(Q, D): the class token normed without weight and bias, once for each head."""
        return (
            self.attention_norm.normalised(self.class_token_K1D).squeeze(1).repeat_interleave(self.heads, 0)
        )

    def _weights(self, normed_BND: torch.Tensor) -> torch.Tensor:
        """(B, Q, 1 + N): each head's weights of the class token and of the tokens."""
        query_KD = self.query(self.attention_norm(self.class_token_K1D)).squeeze(1)
        queries_KHD = head_queries(query_KD, self.keys.weight, self.heads)
        queries_QD = (queries_KHD * self.attention_norm.weight.unsqueeze(1)).flatten(0, 1)
        own_Q1 = (queries_QD * self._own()).sum(dim=-1, keepdim=True)
        scores_BQN = F.linear(normed_BND, queries_QD).mT
        own_BQ1 = own_Q1.expand(normed_BND.shape[0], -1, -1)
        return torch.softmax(torch.cat([own_BQ1, scores_BQN], dim=-1), dim=-1)

    def attention(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """(B, N, D) → (K, B, heads, N); what a row lacks to 1 falls on the class token itself."""
        return self._by_trial(self._weights(self.attention_norm.normalised(tokens_BND))[..., 1:])

    def _by_trial(self, values: torch.Tensor) -> torch.Tensor:
        """(B, Q, …) → (K, B, H, …)."""
        images, _, width = values.shape
        return values.reshape(images, -1, self.heads, width).transpose(0, 1)

    def pool(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        normed_BND = self.attention_norm.normalised(tokens_BND)
        weights = self._weights(normed_BND)
        pooled_BQD = weights[..., 1:] @ normed_BND + weights[..., :1] * self._own()
        return self._by_trial(pooled_BQD)

    def pool_evenly(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        total_BD = self.attention_norm.normalised(tokens_BND).sum(dim=1)
        return self._by_trial((total_BD.unsqueeze(1) + self._own()) / (tokens_BND.shape[1] + 1))

    def _attended(self, pooled_KBHD: torch.Tensor) -> torch.Tensor:
        assert self.values.bias is not None
        normed_KBHD = self.attention_norm.affine(pooled_KBHD)
        values = project_heads(normed_KBHD, self.values.weight) + self.values.bias.unsqueeze(1)
        found: torch.Tensor = self.output(values)
        return found

    def finish(self, pooled_KBHD: torch.Tensor) -> torch.Tensor:
        z = self.class_token_K1D + self.attention_scale_KD.unsqueeze(1) * self._attended(pooled_KBHD)
        z = z + self.mlp_scale_KD.unsqueeze(1) * self.mlp(self.mlp_norm(z))
        found: torch.Tensor = self.output_norm(z)
        return found

"""CLIP's attention pooling: the mean of the tokens attends to them and to itself (arXiv 2103.00020).

    z_n = LN(x_n), n = 1 … N        z_0 = mean_n z_n        t_n = z_n + p_n        p: N + 1 learned positions
    a_h = softmax_n(q_h · (W_K t_n + b_K)_h / √E), q = W_Q t_0 + b_Q      over n = 0 … N; h = 1 … H, E = D / H
    y   = W_O [Σ_n a_hn (W_V t_n + b_V)_h]_h + b_O

Published as self-attention of which output 0 alone is read, so that t_0 alone need ask. With
u_h = (W_Kᵀ q)_h / √E the scores are u_h · z_n + u_h · p_n, u_h · z_0 the mean of the other u_h · z_n, and
Σ_n a_hn t_n = Σ_n a_hn z_n + Σ_n a_hn p_n: products with the tokens, normed once for all trials, and with
each trial's own positions. The positioned tokens of a trial are never made.

Shape suffixes: K trials, B images, H heads, N tokens, D channels.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import nn

from probe.poolings.description import Description
from probe.poolings.divisors import check_heads
from probe.poolings.query_pooling import QueryPooling, even
from probe.stacked import LayerNorm, Linear, head_queries, project_heads


class CLIPPooling(QueryPooling):
    """Tokens (B, N, D) → (K, B, D). Parameters: 4 D² + 6 D + (N + 1) D.

    N is the grid's, and one more if `cls`. Positions and W_Q, W_K, W_V start as a normal of 1/√D, cut at ±2,
    their biases at 0, W_O as PyTorch's layers do. Raises `UserError` unless `heads` divides D.
    """

    description: ClassVar = Description(
        query="W_Q (mean of LN(x) + p) + b",
        keys="W_K (LN(x) + p) + b, for the tokens and their mean",
        values="W_V (LN(x) + p) + b, for the tokens and their mean",
        attention="softmax over tokens and their mean in each head, scaled by 1/√(D/H)",
        output="linear",
        reference="CLIP, arXiv 2103.00020, openai/CLIP clip/model.py; timm's AttentionPool2d",
    )

    def __init__(self, dim: int, grid: tuple[int, ...], *, cls: bool, heads: int = 4) -> None:
        super().__init__()
        check_heads(heads, dim)
        self.heads = heads
        self.out_dim = dim
        self.norm = LayerNorm(dim, eps=1e-6)
        self.positions_KND = nn.Parameter(torch.empty(1, math.prod(grid) + cls + 1, dim))
        self.qkv = Linear(dim, 3 * dim)
        self.output = Linear(dim, dim)
        nn.init.trunc_normal_(self.positions_KND, std=dim**-0.5)
        nn.init.trunc_normal_(self.qkv.weight, std=dim**-0.5)
        assert self.qkv.bias is not None
        nn.init.zeros_(self.qkv.bias)

    def attention(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """(B, N, D) → (K, B, heads, N): each token's share of what was pooled; rows sum to 1.

        The mean token's weight is spread over the tokens that it is the mean of.
        """
        return _shares(self._weights(self.norm.normalised(tokens_BND)))

    def pool(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        normalised = self.norm.normalised(tokens_BND)
        weights = self._weights(normalised)
        content = self._by_trial(_shares(weights).transpose(0, 1).flatten(1, 2) @ normalised)
        places = torch.bmm(weights.flatten(1, 2), self.positions_KND)
        return self.norm.affine(content) + places.view_as(content)

    def pool_evenly(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        content = self.norm.affine(even(self.norm.normalised(tokens_BND)))
        return content + self.positions_KND.mean(dim=1)[:, None, None]

    def finish(self, pooled_KBHD: torch.Tensor) -> torch.Tensor:
        values = project_heads(pooled_KBHD, self.qkv.weight.chunk(3, dim=1)[2])
        found: torch.Tensor = self.output(values + self._biases()[2].unsqueeze(1))
        return found

    def _weights(self, normalised_BND: torch.Tensor) -> torch.Tensor:
        """(K, B, H, 1 + N) attention of the mean token to itself and to the tokens."""
        query_weight, key_weight, _ = self.qkv.weight.chunk(3, dim=1)
        asking = self.norm.affine(normalised_BND.mean(dim=1).unsqueeze(0)) + self.positions_KND[:, :1]
        queries = torch.baddbmm(self._biases()[0].unsqueeze(1), asking, query_weight.mT)
        queries_KBHD = head_queries(queries, key_weight, self.heads)
        places = torch.bmm(queries_KBHD.flatten(1, 2), self.positions_KND.mT)
        to_tokens = queries_KBHD * self.norm.weight.view(-1, 1, 1, self.out_dim)
        content = to_tokens.transpose(0, 1).flatten(1, 2) @ normalised_BND.mT
        content_KBHN = self._by_trial(torch.cat([content.mean(dim=-1, keepdim=True), content], dim=-1))
        return torch.softmax(content_KBHN + places.view_as(content_KBHN), dim=-1)

    def _by_trial(self, values: torch.Tensor) -> torch.Tensor:
        """(B, K·H, …) → (K, B, H, …)."""
        return torch.unflatten(values, 1, (-1, self.heads)).transpose(0, 1)

    def _biases(self) -> tuple[torch.Tensor, ...]:
        """Of queries, keys and values, (K, D) each. That of the keys moves all scores alike: no effect."""
        assert self.qkv.bias is not None
        return self.qkv.bias.chunk(3, dim=1)


def _shares(weights: torch.Tensor) -> torch.Tensor:
    """(K, B, H, 1 + N) weights of the mean token and the tokens → (K, B, H, N) of the tokens themselves."""
    return weights[..., 1:] + weights[..., :1] / (weights.shape[-1] - 1)

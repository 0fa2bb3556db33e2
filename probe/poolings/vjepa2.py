"""V-JEPA 2's attentive probe: three transformer blocks, then cross-attention of one query (arXiv 2506.09985).

    x  ← x + attention(LN(x)), then x ← x + MLP(LN(x))          three times
    a_h = softmax_n(q_h · (W_K LN(x_n) + b_K)_h / √E)           q = W_Q u + b_Q, u: one learned vector
    z   = u + [Σ_n a_hn (W_V LN(x_n) + b_V)_h]_h                h = 1 … H, E = D / H
    y   = z + MLP(LN(z))

The cross-attention has no output projection. Keys join the query and values are projected after pooling, with
the norm's weight and bias; b_K moves all scores alike, so it has no effect and its gradient is 0.

Shape suffixes: K trials, B images, N tokens, D channels.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from probe.poolings.description import Description
from probe.poolings.divisors import check_heads
from probe.poolings.query_pooling import QueryPooling
from probe.stacked import MLP, LayerNorm, Linear, head_queries, project_heads
from probe.stacked.start import start_linears
from probe.stacked.transformer_block import TransformerBlock

NUM_BLOCKS = 3
"""Blocks of self-attention: `num_probe_blocks: 4` in the published configurations, one of them the last."""


class VJEPA2Pooling(QueryPooling):
    """Tokens (B, N, D) → (K, B, D). Parameters: 47 D² + 52 D.

    The query and all weights start as a normal of 0.02, cut at ±2, all biases at 0. Then the weights of what
    block l = 1, 2, 3 adds (output projection, second layer of the MLP) are divided by √(2 l), and those of
    the last MLP's second layer by √6, as published. Raises `UserError` unless `heads` divides D.
    """

    description: ClassVar = Description(
        query="W_Q u + b, u one learned vector",
        keys="W_K LN(x) + b, x through three transformer blocks",
        values="W_V LN(x) + b, x through three transformer blocks",
        attention="softmax over tokens in each head, scaled by 1/√(D/H)",
        output="residual, then a residual MLP of the norm",
        reference="V-JEPA 2, arXiv 2506.09985, facebookresearch/vjepa2 src/models/attentive_pooler.py",
    )

    def __init__(self, dim: int, heads: int = 16) -> None:
        super().__init__()
        check_heads(heads, dim)
        self.heads = heads
        self.out_dim = dim
        blocks = [TransformerBlock(dim, heads, qkv_bias=True) for _ in range(NUM_BLOCKS)]
        self.blocks = nn.Sequential(*blocks)
        self.query_K1D = nn.Parameter(torch.empty(1, 1, dim))
        self.token_norm = LayerNorm(dim)
        self.query = Linear(dim, dim)
        self.keys_values = Linear(dim, 2 * dim)
        self.norm = LayerNorm(dim)
        self.mlp = MLP(dim)
        self._start(blocks)

    @torch.no_grad()
    def _start(self, blocks: list[TransformerBlock]) -> None:
        nn.init.trunc_normal_(self.query_K1D, std=0.02)
        start_linears(self)
        for number, block in enumerate(blocks, 1):
            for part in (block.proj, block.mlp.outer):
                part.weight.div_((2 * number) ** 0.5)
        self.mlp.outer.weight.div_((2 * NUM_BLOCKS) ** 0.5)

    def attention(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """(B, N, D) → (K, B, heads, N): of the cross-attention, to the blocks' tokens; rows sum to 1."""
        return self._weights(self._through_blocks(tokens_BND))

    def pool(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        normalised_KBND = self._through_blocks(tokens_BND)
        return self._weights(normalised_KBND) @ normalised_KBND

    def pool_evenly(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        return self._through_blocks(tokens_BND).mean(dim=2, keepdim=True)

    def finish(self, pooled_KBHD: torch.Tensor) -> torch.Tensor:
        assert self.keys_values.bias is not None
        bias = self.keys_values.bias[:, self.out_dim :].unsqueeze(1)
        normed = self.token_norm.affine(pooled_KBHD)
        values = project_heads(normed, self.keys_values.weight[:, self.out_dim :]) + bias
        residual = self.query_K1D + values
        found: torch.Tensor = residual + self.mlp(self.norm(residual))
        return found

    def _through_blocks(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """(K, B, N, D), normed without weight and bias."""
        return self.token_norm.normalised(self.blocks(tokens_BND.unsqueeze(0)))

    def _weights(self, normalised_KBND: torch.Tensor) -> torch.Tensor:
        """(K, B, heads, N)."""
        query_KD = self.query(self.query_K1D).squeeze(1)
        queries = head_queries(query_KD, self.keys_values.weight[:, : self.out_dim], self.heads)
        queries = queries * self.token_norm.weight.unsqueeze(1)
        scores = torch.bmm(normalised_KBND.flatten(1, 2), queries.mT)
        return torch.softmax(torch.unflatten(scores, 1, normalised_KBND.shape[1:3]).mT, dim=-1)

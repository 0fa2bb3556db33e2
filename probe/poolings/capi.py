"""CAPI's attentive probe: one learned query, heads of 64 channels (arXiv 2502.08769).

    a_h = softmax_n(q_h · (W_K x_n + b_K)_h / √E)    h = 1 … H, E = D / H = 64
    y_h = Σ_n a_hn (W_V x_n + b_V)_h
    y   = [y_1 … y_H]                                no output projection, no norm

Computed pool first, project after: head h attends to raw tokens with W_Kᵀ q_h, and W_V and b_V meet what was
pooled. b_K adds the same to the scores of all tokens, so it has no effect and no gradient.

Shape suffixes: K trials, B images, N tokens, D channels.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from configs import UserError
from probe.poolings.description import Description
from probe.poolings.query_pooling import FoldedQueryPooling
from probe.stacked import Linear, head_queries, project_heads
from probe.stacked.start import start_linears

HEAD_WIDTH = 64


class CAPIPooling(FoldedQueryPooling):
    """Tokens (B, N, D) → (K, B, D). Parameters: 2 D² + 3 D.

    Query and projections start as a normal of 0.02, cut at ±2, the bias at 0. Raises `UserError` unless 64
    divides D.
    """

    reduced_precision: ClassVar = True  # the tokens meet `attend` alone

    description: ClassVar = Description(
        query="one learned vector, split among the heads",
        keys="W_K x + b",
        values="W_V x + b",
        attention="softmax over tokens in each head of 64 channels, scaled by 1/8",
        output="the heads side by side",
        reference="CAPI, arXiv 2502.08769, facebookresearch/capi eval_classification.py",
    )

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim % HEAD_WIDTH:
            raise UserError(
                f"capi's heads of {HEAD_WIDTH} channels do not divide the token width {dim}: "
                "use mhca, siglip or cae, whose number of heads is free"
            )
        self.heads = dim // HEAD_WIDTH
        self.out_dim = dim
        self.query_KD = nn.Parameter(torch.empty(1, dim))
        nn.init.trunc_normal_(self.query_KD, std=0.02)
        self.keys_values = Linear(dim, 2 * dim)
        start_linears(self)

    def queries(self) -> torch.Tensor:
        key_weight, _ = self.keys_values.weight.chunk(2, dim=1)
        return head_queries(self.query_KD, key_weight, self.heads)

    def finish(self, pooled_KBHD: torch.Tensor) -> torch.Tensor:
        _, value_weight = self.keys_values.weight.chunk(2, dim=1)
        assert self.keys_values.bias is not None
        _, value_bias = self.keys_values.bias.chunk(2, dim=1)
        return project_heads(pooled_KBHD, value_weight) + value_bias.unsqueeze(1)

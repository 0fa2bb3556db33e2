"""CoCa's attentional pooler: many heads of queries, one head of keys and values (arXiv 2205.01917).

    q   = W_Q (γ · LayerNorm(u_0))           u: 196 learned queries, γ without a bias
    a_h = softmax_n(q_h · W_K x_n / √64)     h = 1 … H
    y   = W_O [Σ_n a_hn W_V x_n]_h           no biases

Only the first query's output is read, so only it is computed. Computed pool first, project after: head h
attends to raw tokens with W_Kᵀ q_h, and W_V meets what was pooled.

Shape suffixes: K trials, B images, N tokens, D channels, H heads, E = 64 channels of a head.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from probe.poolings.description import Description
from probe.poolings.query_pooling import FoldedQueryPooling
from probe.stacked import Linear, projected

HEAD_WIDTH = 64
NUM_QUERIES = 196


class CoCaPooling(FoldedQueryPooling):
    """Tokens (B, N, D) → (K, B, D). Parameters: 128 H D + 325 D, for any D.

    The queries start as normal noise, γ as 1, the projections as linear layers do.
    """

    reduced_precision: ClassVar = True  # the tokens meet `attend` alone

    description: ClassVar = Description(
        query="W_Q LN(u), u the first of 196 learned vectors",
        keys="W_K x of 64 channels, shared by the heads",
        values="W_V x of 64 channels, shared by the heads",
        attention="softmax over tokens in each head, scaled by 1/8",
        output="linear, without bias",
        reference="CoCa, arXiv 2205.01917, lucidrains/CoCa-pytorch",
    )

    def __init__(self, dim: int, heads: int = 8) -> None:
        super().__init__()
        self.heads = heads
        self.out_dim = dim
        self.norm_weight_KD = nn.Parameter(torch.ones(1, dim))
        # all but the first are unused: they are in the published count, and in the norm by which LARS scales
        self.queries_KMD = nn.Parameter(torch.randn(1, NUM_QUERIES, dim))
        self.query = Linear(dim, heads * HEAD_WIDTH, bias=False)
        self.keys_values = Linear(dim, 2 * HEAD_WIDTH, bias=False)
        self.output = Linear(heads * HEAD_WIDTH, dim, bias=False)

    def queries(self) -> torch.Tensor:
        """(K, H, D)."""
        first_K1D = self.queries_KMD[:, :1]
        normed = F.layer_norm(first_K1D, first_K1D.shape[-1:]) * self.norm_weight_KD.unsqueeze(1)
        queries_KHE = self.query(normed).unflatten(-1, (self.heads, -1)).squeeze(1) * HEAD_WIDTH**-0.5
        key_weight_KED, _ = self.keys_values.weight.chunk(2, dim=1)
        return torch.bmm(queries_KHE, key_weight_KED)

    def finish(self, pooled_KBHD: torch.Tensor) -> torch.Tensor:
        _, value_weight_KED = self.keys_values.weight.chunk(2, dim=1)
        values = projected(pooled_KBHD.flatten(1, 2), value_weight_KED).view(*pooled_KBHD.shape[:3], -1)
        found: torch.Tensor = self.output(values.flatten(2))
        return found

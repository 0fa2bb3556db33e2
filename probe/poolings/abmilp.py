"""AbMILP: multiple-instance pooling of the tokens, after self-attention or without (arXiv 2412.03215).

As published, with self-attention "both" and depth 2, one head:

    z_n = W_O Σ_m A_nm W_V x_m + b_O      A_n = softmax_m(W_Q x_n · W_K x_m / √D)
    a   = softmax_n(w · tanh(W_1 z_n + b_1) + b)
    y   = Σ_n a_n z_n

With one head W_Q x_n · W_K x_m = (W_Kᵀ W_Q x_n) · x_m: each token asks the raw tokens and mixes them by A.
W_O W_V joins W_1 for the scores and is applied once to what was pooled: two maps of every token, not five.

Without self-attention and with depth 1, the form in the EP paper's table:

    y = Σ_n a_n x_n      a = softmax_n(w · x_n + b)

Shape suffixes: K trials, B images, N tokens, D channels.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F

from probe.poolings.description import Description
from probe.poolings.query_pooling import FoldedQueryPooling, QueryPooling
from probe.stacked import Linear, attend

REFERENCE = "AbMIL, arXiv 1802.04712; arXiv 2412.03215; billpsomas/efficient-probing poolings/abmilp.py"


class ABMILPPooling(QueryPooling):
    """Tokens (B, N, D) → (K, B, D). Parameters: 5 D² + 3 D + 1. All layers start as PyTorch's do."""

    description: ClassVar = Description(
        query="—",
        keys="z: the tokens after one-head self-attention",
        values="z",
        attention="softmax over tokens of w · tanh(W z + b) + b'",
        output="—",
        reference=REFERENCE,
    )

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.out_dim = dim
        self.qkv = Linear(dim, 3 * dim, bias=False)
        self.proj = Linear(dim, dim)
        self.hidden = Linear(dim, dim)
        self.score = Linear(dim, 1)

    def attention(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """(B, N, D) → (K, B, 1, N): the weights of the self-attended tokens; rows sum to 1."""
        return self._weights(self._mixed(tokens_BND))

    def pool(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        mixed_KBND = self._mixed(tokens_BND)
        return self._weights(mixed_KBND) @ mixed_KBND

    def pool_evenly(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        return self._mixed(tokens_BND).mean(dim=2, keepdim=True)

    def finish(self, pooled_KB1D: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.proj(
            torch.bmm(pooled_KB1D.squeeze(2), self.qkv.weight.chunk(3, dim=1)[2].mT)
        )
        return found

    def _mixed(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """Σ_m A_nm x_m, (K, B, N, D)."""
        query_weight, key_weight, _ = self.qkv.weight.chunk(3, dim=1)
        joined_KDD = torch.bmm(key_weight.mT * self.out_dim**-0.5, query_weight)
        queries = torch.unflatten(F.linear(tokens_BND, joined_KDD.flatten(0, 1)), -1, joined_KDD.shape[:2])
        # one copy for several trials, which two products read
        return attend(tokens_BND, queries.movedim(-2, 0)).contiguous()

    def _weights(self, mixed_KBND: torch.Tensor) -> torch.Tensor:
        """(K, B, 1, N)."""
        assert self.proj.bias is not None
        assert self.hidden.bias is not None
        value_weight = self.qkv.weight.chunk(3, dim=1)[2]
        weight = self.hidden.weight @ (self.proj.weight @ value_weight)
        bias = torch.baddbmm(
            self.hidden.bias.unsqueeze(1), self.proj.bias.unsqueeze(1), self.hidden.weight.mT
        )
        hidden = torch.tanh(torch.baddbmm(bias, mixed_KBND.flatten(1, 2), weight.mT))
        return torch.softmax(self.score(hidden).view(*mixed_KBND.shape[:2], 1, -1), dim=-1)


class LinearABMILPPooling(FoldedQueryPooling):
    """Tokens (B, N, D) → (K, B, D). Parameters: D + 1. The score starts as PyTorch's linear layer does."""

    description: ClassVar = Description(
        query="one learned vector",
        keys="the tokens",
        values="the tokens",
        attention="softmax over tokens, not scaled",
        output="—",
        reference=REFERENCE,
    )

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.out_dim = dim
        self.score = Linear(dim, 1)

    def queries(self) -> torch.Tensor:
        return self.score.weight

    def finish(self, pooled_KB1D: torch.Tensor) -> torch.Tensor:
        # the score's bias moves all scores alike: it is in the published count and has the gradient 0
        assert self.score.bias is not None
        return pooled_KB1D.squeeze(2) + 0 * self.score.bias.unsqueeze(1)

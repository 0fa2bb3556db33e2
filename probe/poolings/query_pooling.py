"""What poolings by queries share: each query or head has a map that sums to 1, and pools tokens by it."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn

from probe.stacked import attend, attention_weights


class QueryPooling(nn.Module, ABC):
    """Tokens (B, N, D) → (K, B, D_o) in two steps: maps and tokens meet in `pool`, and nowhere after it.

    So `finish` tells all that follows from a query whose map is another one.
    """

    @abstractmethod
    def attention(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """(B, N, D) → (K, B, M, N): where each query or head looks."""

    @abstractmethod
    def pool(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """(B, N, D) → (K, B, M, E): what each query or head pools."""

    @abstractmethod
    def pool_evenly(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """The same where a map is uniform over all that it attends to; an axis of one is the same for all."""

    @abstractmethod
    def finish(self, pooled_KBME: torch.Tensor) -> torch.Tensor:
        """(K, B, M, E) → (K, B, D_o)."""

    def forward(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        return self.finish(self.pool(tokens_BND))


class FoldedQueryPooling(QueryPooling):
    """Queries that attend to the tokens themselves: what projects keys is folded into them."""

    @abstractmethod
    def queries(self) -> torch.Tensor:
        """(K, M, D), scaled: their products with tokens are the scores."""

    def attention(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        return attention_weights(tokens_BND, self.queries())

    def pool(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        return attend(tokens_BND, self.queries())

    def pool_evenly(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        return even(tokens_BND)


def even(tokens_BND: torch.Tensor) -> torch.Tensor:
    """The mean token in float32 (float64 for such), (1, B, 1, D)."""
    wide = tokens_BND if tokens_BND.dtype == torch.float64 else tokens_BND.float()
    return wide.mean(dim=1)[None, :, None]

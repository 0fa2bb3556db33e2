"""Tokens as the store has them, for who can use them so, and decoded for all others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import torch

from cache.encode import decode


@dataclass(frozen=True)
class StoredTokens:
    """(S, N, D) float16, bfloat16 or int8 tokens before the final norm, on the device that probes them.

    `scales`: (S, N + D) float16 beside int8 codes. `precision`: in which products with them are asked for.
    `items`: (B,) int64, the images of a batch among those S, which need not be gathered; without it they are
    the batch.
    """

    values: torch.Tensor
    scales: torch.Tensor | None
    precision: torch.dtype
    items: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.values if self.items is None else self.items)

    @cached_property
    def decoded(self) -> torch.Tensor:
        """(B, N, D) in `precision`: made once, however many probes ask."""
        values, scales = self.values, self.scales
        if self.items is not None:
            values, scales = values[self.items], None if scales is None else scales[self.items]
        return decode(values, scales).to(self.precision)


Tokens: TypeAlias = torch.Tensor | StoredTokens
"""What a probe is given: (B, N, D) or (B, D) decoded, or (B, N, D) as stored."""


def decoded(tokens: Tokens) -> torch.Tensor:
    """A tensor, whichever was given."""
    return tokens.decoded if isinstance(tokens, StoredTokens) else tokens

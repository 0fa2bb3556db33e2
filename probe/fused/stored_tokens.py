"""Tokens as the store has them, for who can use them so, and decoded for all others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import torch

from cache.encode import decode


@dataclass(frozen=True)
class StoredTokens:
    """(B, N, D) float16, bfloat16 or int8 tokens before the final norm, on the device that probes them.

    `scales`: (B, N + D) float16 beside int8 codes. `precision`: in which products with them are asked for.
    """

    values: torch.Tensor
    scales: torch.Tensor | None
    precision: torch.dtype

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def decoded(self) -> torch.Tensor:
        """(B, N, D) in `precision`: made once, however many probes ask."""
        return decode(self.values, self.scales).to(self.precision)


Tokens: TypeAlias = torch.Tensor | StoredTokens
"""What a probe is given: (B, N, D) or (B, D) decoded, or (B, N, D) as stored."""


def decoded(tokens: Tokens) -> torch.Tensor:
    """A tensor, whichever was given."""
    return tokens.decoded if isinstance(tokens, StoredTokens) else tokens

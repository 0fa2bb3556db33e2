"""Tokens as the store has them, for who can use them so, and decoded for all others."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import torch

from cache import FinalNorm
from cache.encode import decode
from probe.centred_tokens import CentredTokens, centred


@dataclass(frozen=True)
class StoredTokens:
    """(S, N, D) float16, bfloat16 or int8 tokens as they are stored, on the device that probes them.

    `scales`: (S, N + D) float16 beside int8 codes; both are contiguous, which the kernels count on.
    `precision`: in which products with them are asked for. `norm`: the final norm that they are to be seen
    through. `items`: (B,) int64, the images of a batch among those S, which need not be gathered; without it
    they are the batch. `kept` holds what has been computed of all S, for other batches of them.
    """

    values: torch.Tensor
    scales: torch.Tensor | None
    precision: torch.dtype
    norm: FinalNorm | None = None
    items: torch.Tensor | None = None
    kept: dict[str, torch.Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values if self.items is None else self.items)

    @property
    def decoded(self) -> torch.Tensor:
        """(B, N, D) float32, normed."""
        return decoded(self.plain)

    @cached_property
    def plain(self) -> torch.Tensor | CentredTokens:
        """In `precision`, normed, for matrix products: made once, however many probes ask."""
        values, scales = self.values, self.scales
        if self.items is not None:
            values, scales = values[self.items], None if scales is None else scales[self.items]
        tokens = decode(values, scales)
        return in_precision(tokens if self.norm is None else self.norm(tokens), self.precision)


Tokens: TypeAlias = torch.Tensor | CentredTokens | StoredTokens
"""What a probe is given: (B, N, D) or (B, D) decoded, or (B, N, D) in 16 bits, or as stored."""


def in_precision(tokens_BND: torch.Tensor, precision: torch.dtype) -> torch.Tensor | CentredTokens:
    """float32 tokens as products with them are asked for."""
    return tokens_BND if precision == tokens_BND.dtype else centred(tokens_BND, precision)


def decoded(tokens: Tokens) -> torch.Tensor:
    """A tensor, whichever was given."""
    return tokens if isinstance(tokens, torch.Tensor) else tokens.decoded

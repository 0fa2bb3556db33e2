"""How the kernels' work is cut, from what a multiprocessor of a Hopper GPU holds.

Limits are those of compute capability 9.0: 65,536 registers of 32 bits, 227 KB of shared memory. docs/gpu.md
has what the compiler makes of them; their speed has not been measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

TOTALS = 32 * 1024
"""Sums of a program, channels × queries: half of the registers."""

SHARED_MEMORY = 200 * 1024
"""Bytes for queries, blocks of tokens and scores; the compiler needs some of the 227 KB itself."""

FEWEST_QUERIES = 8  # the shortest side of a matrix unit's product
USUAL_QUERIES = 16  # at least, where registers hold them
MOST_QUERIES = 64


@dataclass(frozen=True)
class Blocks:
    """Tokens, queries and channels of a tile, tiles of a token; the compiler's warps and pipeline stages."""

    tokens: int
    queries: int
    channels: int
    chunks: int
    warps: int = 8
    stages: int = 3


def blocks_for(dim: int, num_queries: int, parts: int, dtype: torch.dtype) -> Blocks | None:
    """For tokens of `dim` channels stored in `dtype`; None where not even the smallest fit."""
    # what is beside the sums: operands in several parts, or codes on their way to operands
    totals = TOTALS if parts == 1 and dtype != torch.int8 else TOTALS // 2
    if totals // dim < FEWEST_QUERIES:
        return None
    needed = _power_of_two(2 * num_queries - 1)
    most = min(_power_of_two(totals // dim), MOST_QUERIES)
    queries = min(most, max(needed, USUAL_QUERIES))
    operand = max(2, dtype.itemsize)
    # 64: products that run on while the next are loaded; the last, of very wide tokens: no loads ahead
    for tokens, pending, stages in ((64, 3, 3), (32, 2, 3), (16, 2, 3), (16, 1, 2)):
        scores = 2 * 4 * tokens * queries
        if operand * dim * (parts * queries + pending * tokens) + scores <= SHARED_MEMORY:
            return Blocks(tokens, queries, *tiles_of(dim), stages=stages)
    return None


def tiles_of(dim: int) -> tuple[int, int]:
    """Channels of a tile, a power of two that divides `dim` if one does, and how many tiles a token has."""
    channels = next(width for width in (128, 64, 32, 16) if dim % width == 0 or width == 16)
    return channels, -(-dim // channels)


def _power_of_two(number: int) -> int:
    """The largest that is not larger; 1 for less than 1."""
    return 1 << max(number, 1).bit_length() - 1

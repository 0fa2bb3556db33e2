"""Cosine similarities of queries and a gallery, a tile of them at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from configs import UserError, in_bytes

QUERIES, ROWS = 256, 2048
"""Every matrix product has this shape, the last ones padded with zeros. So a similarity is the same number,
to the last bit, however many queries a memory budget lets stand beside it."""

TILE_BYTES = 72 * QUERIES * ROWS
"""Of a tile where every similarity is kept: value, mask, row, column, place and key of each."""


@dataclass(frozen=True)
class Tile:
    """Similarities of the queries and gallery rows that it names, (q, g) float32."""

    queries: slice
    rows: slice
    similarity: torch.Tensor


@dataclass(frozen=True)
class Comparison:
    """Queries (m, D) against a gallery (n, D), floats of any dtype, on `device` within `memory` bytes.

    The features given are not counted in the memory. With `leave_one_out` queries and gallery are the same
    images, and none is compared with itself: that similarity is −inf.
    """

    queries: torch.Tensor
    gallery: torch.Tensor
    memory: int
    device: torch.device
    leave_one_out: bool = False

    def blocks(self, bytes_per_query: int) -> Iterator[slice]:
        """Consecutive queries whose tiles are to be taken together; each keeps so many bytes beside.

        Raises `UserError` where the memory does not hold one tile.
        """
        dim = self.queries.shape[1]
        fixed = TILE_BYTES + 3 * ROWS * dim * 4
        for_tile = QUERIES * (bytes_per_query + 3 * dim * 4)
        tiles = (self.memory - fixed) // for_tile
        if tiles < 1:
            raise UserError(
                f"comparing features within {in_bytes(self.memory)} of memory: "
                f"{in_bytes(fixed + for_tile)} is the least that does"
            )
        size = tiles * QUERIES
        for start in range(0, len(self.queries), size):
            yield slice(start, min(start + size, len(self.queries)))

    def tiles(self, block: slice) -> Iterator[Tile]:
        """All similarities of a block's queries. Every query meets the gallery's rows in ascending order."""
        queries = [
            (chosen, self._unit(self.queries[chosen], QUERIES))
            for chosen in _slices(block.start, block.stop, QUERIES)
        ]
        for rows in _slices(0, len(self.gallery), ROWS):
            gallery = self._unit(self.gallery[rows], ROWS)
            for chosen, query in queries:
                product = query @ gallery.mT
                similarity = product[: chosen.stop - chosen.start, : rows.stop - rows.start]
                if self.leave_one_out:
                    similarity.diagonal(chosen.start - rows.start).fill_(-torch.inf)
                yield Tile(chosen, rows, similarity)

    def _unit(self, features: torch.Tensor, size: int) -> torch.Tensor:
        """(size, D) float32 of length 1; features of zeros, and the padding, stay zeros."""
        padded = torch.zeros(size, features.shape[1], device=self.device)
        padded[: len(features)] = features
        return F.normalize(padded, dim=1)


def _slices(start: int, stop: int, size: int) -> Iterator[slice]:
    return (slice(first, min(first + size, stop)) for first in range(start, stop, size))

"""The exact k nearest rows of a gallery by cosine similarity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from configs import UserError
from probe.neighbours.ranking_key import ranking_key, row_of, similarity_of
from probe.neighbours.similarity_tiles import Comparison


@dataclass(frozen=True)
class Neighbours:
    """The nearest rows of some consecutive queries, nearest first; of equal ones the lower row first."""

    queries: slice
    similarity: torch.Tensor  # (q, k) float32
    row: torch.Tensor  # (q, k) int64


def nearest(comparison: Comparison, k: int) -> Iterator[Neighbours]:
    """The `k` nearest rows of every query, a block of queries at a time.

    Raises `UserError` where the gallery has fewer than `k`.
    """
    rows = len(comparison.gallery) - comparison.leave_one_out
    if k > rows:
        raise UserError(f"{k:,} nearest neighbours of {rows:,} images: choose a smaller k")
    device = comparison.device
    nothing = ranking_key(torch.tensor(-torch.inf, device=device), torch.tensor(2**32 - 1, device=device))
    for block in comparison.blocks(bytes_per_query=4 * 8 * k):
        keys = nothing.repeat(block.stop - block.start, k)
        for tile in comparison.tiles(block):
            kept = keys[tile.queries.start - block.start : tile.queries.stop - block.start]
            kept.copy_(_merged(kept, tile.similarity, tile.rows.start))
        yield Neighbours(block, similarity_of(keys), row_of(keys))


def _merged(kept: torch.Tensor, similarity: torch.Tensor, first_row: int) -> torch.Tensor:
    """The largest of the `kept` keys (q, k) and of new similarities (q, g) of rows from `first_row` on.

    Most of the new ones are below all k that are kept, and no key is made for them. Equal is not enough: rows
    come in ascending order, so the ones that are kept win.
    """
    query, column = (similarity > similarity_of(kept[:, -1:])).nonzero(as_tuple=True)
    counts = torch.bincount(query, minlength=len(kept))
    place = torch.arange(len(query), device=query.device) - (counts.cumsum(0) - counts)[query]
    new = kept[:, -1:].repeat(1, int(counts.max()))
    new[query, place] = ranking_key(similarity[query, column], column + first_row)
    return torch.cat([kept, new], dim=1).topk(kept.shape[1]).values

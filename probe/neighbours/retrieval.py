"""How well a gallery's images of the same class are retrieved by cosine similarity.

For a query with R images of its class in the gallery, the r-th of them at place p_r of the ranking, from 1:

    R@k = 1 if p_1 ≤ k, otherwise 0        AP = 1/R · Σ_{r=1..R} r / p_r

R@1, R@5 and mAP are the means over the queries in percent. Queries with R = 0 have no right answer and are
left out. Of equally similar images the one with the lower position comes first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from configs import UserError
from probe.neighbours.ranking_key import ranking_key
from probe.neighbours.similarity_tiles import Comparison

_NO_KEY = -(2**63)


@dataclass(frozen=True)
class RetrievalScore:
    """Means over `queries` that have an image of their class in the gallery, in percent."""

    recall_at_1: float
    recall_at_5: float
    mean_average_precision: float
    queries: int


def retrieval_scores(
    queries: torch.Tensor,
    query_labels: torch.Tensor,
    gallery: torch.Tensor,
    gallery_labels: torch.Tensor,
    *,
    memory: int,
    device: torch.device,
) -> RetrievalScore:
    """Rank the gallery (n, D) for each of the queries (m, D); labels (m,) and (n,) int64.

    Raises `UserError` where no query has its class in the gallery, or `memory`, in bytes, is too small.
    """
    return _scores(Comparison(queries, gallery, memory, device), query_labels, gallery_labels)


def leave_one_out_scores(
    features: torch.Tensor, labels: torch.Tensor, *, memory: int, device: torch.device
) -> RetrievalScore:
    """Each image (n, D) is a query against all others; labels (n,) int64.

    Raises as `retrieval_scores` does.
    """
    return _scores(Comparison(features, features, memory, device, leave_one_out=True), labels, labels)


def _scores(
    comparison: Comparison, query_labels: torch.Tensor, gallery_labels: torch.Tensor
) -> RetrievalScore:
    members = _Members(gallery_labels.to(comparison.device))
    measures = []
    for block in comparison.blocks(bytes_per_query=6 * 8 * (members.most + 1)):
        relevant = members.rows(query_labels[block].to(comparison.device))
        if comparison.leave_one_out:
            queries = torch.arange(block.start, block.stop, device=comparison.device)
            relevant = relevant.masked_fill(relevant == queries.unsqueeze(1), -1)
        places = _places(comparison, block, relevant).cpu()
        measures.append(_measures(places[places[:, 0] > 0]))
    found = torch.cat(measures)
    if not len(found):
        raise UserError("no query has another image of its class in the gallery: nothing can be retrieved")
    recall_at_1, recall_at_5, precision = (100 * found.mean(0)).tolist()
    return RetrievalScore(recall_at_1, recall_at_5, precision, len(found))


class _Members:
    """The gallery rows of every class."""

    def __init__(self, labels: torch.Tensor) -> None:
        self.labels, order = labels.sort(stable=True)
        self.most = int(torch.bincount(labels).max())
        """Rows of the largest class."""
        # so many rows can be read from any start, also after the last class
        self.order = torch.cat([order, order.new_full((self.most,), -1)])

    def rows(self, labels: torch.Tensor) -> torch.Tensor:
        """Rows of the same class as each of `labels` (q,): (q, most) int64, ascending, then −1."""
        start = torch.searchsorted(self.labels, labels)
        stop = torch.searchsorted(self.labels, labels, right=True)
        place = start.unsqueeze(1) + torch.arange(self.most, device=labels.device)
        return self.order[place].masked_fill(place >= stop.unsqueeze(1), -1)


def _places(comparison: Comparison, block: slice, relevant: torch.Tensor) -> torch.Tensor:
    """Places from 1 of each query's `relevant` rows (q, R), −1 for none: (q, R), ascending, then 0.

    Two passes over the block's tiles: the first finds the relevant rows' keys, the second counts the keys of
    all rows between them. The tiles of both are the same to the last bit.
    """
    keys = torch.full_like(relevant, _NO_KEY)
    for queries, first, tile in _tiles_of_keys(comparison, block):
        column = relevant[queries] - first
        inside = (relevant[queries] >= 0) & (column >= 0) & (column < tile.shape[1])
        found = tile.gather(1, column.clamp(0, tile.shape[1] - 1))
        keys[queries] = torch.where(inside, found, keys[queries])
    keys = keys.sort(dim=1).values
    between = keys.new_zeros(len(keys), keys.shape[1] + 1)
    for queries, _, tile in _tiles_of_keys(comparison, block):
        above = torch.searchsorted(keys[queries], tile)
        between[queries] = between[queries].scatter_add(1, above, torch.ones_like(above))
    ahead = between.flip(1).cumsum(1)[:, :-1]  # nearest first: rows that are nearer than each relevant one
    return (ahead + 1).masked_fill(keys.flip(1) == _NO_KEY, 0)


def _tiles_of_keys(comparison: Comparison, block: slice) -> Iterator[tuple[slice, int, torch.Tensor]]:
    """Each tile's queries, counted in the block, its first row, and its keys (q, g)."""
    for tile in comparison.tiles(block):
        rows = torch.arange(tile.rows.start, tile.rows.stop, device=comparison.device)
        queries = slice(tile.queries.start - block.start, tile.queries.stop - block.start)
        yield queries, tile.rows.start, ranking_key(tile.similarity, rows)


def _measures(places: torch.Tensor) -> torch.Tensor:
    """R@1, R@5 and average precision of each query, (q, 3) float64, from places (q, R) and 0 for none."""
    relevant = places > 0
    order = torch.arange(1, places.shape[1] + 1, dtype=torch.float64)
    precision = torch.where(relevant, order / places, 0.0)
    average = precision.sum(1) / relevant.sum(1)
    return torch.stack([places[:, 0] <= 1, places[:, 0] <= 5, average], dim=1).double()

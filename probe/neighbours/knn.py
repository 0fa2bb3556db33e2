"""Weighted k-nearest-neighbour classification, as DINO evaluates features.

Features are divided by their Euclidean length. Of an image's k nearest training images by cosine similarity
s, each votes exp(s / T) for its class (facebookresearch/dino, eval_knn.py). All k and T come from one pass
over the similarities: the nearest of a smaller k are the first of a larger.

Ties have one outcome: of equally similar training images the one with the lower position is nearer, of
classes with equal votes the one with the lower number comes first. A class without a vote is never predicted:
with fewer than five classes among the neighbours, only these count for top-5 (DINO fills up with arbitrary
ones).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from probe.label_place import first_classes, label_place
from probe.neighbours.search import nearest
from probe.neighbours.similarity_tiles import TILE_BYTES, Comparison


@dataclass(frozen=True)
class KnnScore:
    """Accuracies in percent with k neighbours at temperature T."""

    k: int
    temperature: float
    top1: float
    top5: float
    classes: torch.Tensor | None = None
    """(m, 5) int64 on the CPU, where they were asked for: the first classes of each image; −1 for none."""


def knn_scores(
    train: torch.Tensor,
    train_labels: torch.Tensor,
    evaluation: torch.Tensor,
    evaluation_labels: torch.Tensor,
    *,
    ks: Sequence[int],
    temperatures: Sequence[float],
    memory: int,
    device: torch.device,
    predicted: tuple[int, float] | None = None,
) -> list[KnnScore]:
    """A score for every k, and for every temperature of each; that of k and T `predicted` with its classes.

    Features are (n, D) and (m, D), labels (n,) and (m,) int64, not negative. The result does not depend on
    `memory`, the bytes to work in. Raises `UserError` where k exceeds n or the memory is too small.
    """
    sizes = sorted(set(ks))
    num_classes = 1 + int(max(train_labels.max(), evaluation_labels.max()))
    together = max(
        1, TILE_BYTES // (32 * len(temperatures) * num_classes)
    )  # in the memory a tile took before
    hits = torch.zeros(len(sizes), len(temperatures), 2, dtype=torch.int64)
    classes: list[torch.Tensor] = []
    for found in nearest(Comparison(evaluation, train, memory, device), sizes[-1]):
        # on the host, in float64: sums in one order, whatever the device
        similarity, voters = found.similarity.cpu().double(), train_labels.cpu()[found.row.cpu()]
        labels = evaluation_labels[found.queries].cpu()
        for part in torch.arange(len(labels)).split(together):
            weights = _weights(similarity[part], temperatures)
            for number, votes in enumerate(_votes(weights, voters[part], sizes, num_classes)):
                hits[number] += _hits(votes, labels[part])
                if predicted is not None and sizes[number] == predicted[0]:
                    votes = votes[temperatures.index(predicted[1])]
                    classes.append(first_classes(votes.masked_fill(votes == 0, torch.nan), 5))
    percent = (100 * hits.double() / len(evaluation_labels)).tolist()
    return [
        KnnScore(k, temperature, top1, top5, torch.cat(classes) if (k, temperature) == predicted else None)
        for k in ks
        for temperature, (top1, top5) in zip(temperatures, percent[sizes.index(k)], strict=True)
    ]


def _weights(similarity: torch.Tensor, temperatures: Sequence[float]) -> torch.Tensor:
    """Votes of neighbours with `similarity` (B, k), nearest first: (T, B, k).

    Divided by the nearest one's vote, which changes no order and cannot overflow.
    """
    scale = torch.tensor(temperatures, dtype=similarity.dtype).view(-1, 1, 1)
    return ((similarity - similarity[:, :1]) / scale).exp()


def _votes(
    weights: torch.Tensor, voters: torch.Tensor, sizes: Sequence[int], num_classes: int
) -> Iterator[torch.Tensor]:
    """For each of `sizes`, the votes (T, B, C) of so many neighbours: one tensor, which goes on growing.

    From `weights` (T, B, k) of classes `voters` (B, k).
    """
    votes = weights.new_zeros(*weights.shape[:2], num_classes)
    classes = voters.expand(weights.shape)
    for fewer, more in pairwise([0, *sizes]):
        votes.scatter_add_(2, classes[..., fewer:more], weights[..., fewer:more])
        yield votes


def _hits(votes: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(T, 2) images that are top-1 and top-5 hits, from `votes` (T, B, C)."""
    place = label_place(votes, labels)
    voted = votes.gather(2, labels.expand(place.shape).unsqueeze(2)).squeeze(2) > 0
    return torch.stack([(voted & (place < limit)).sum(1) for limit in (1, 5)], dim=1)

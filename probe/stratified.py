"""Random choices among images that treat every class alike: a held-out part, and low-shot subsets.

Platform independent: they follow from the labels, the seed and the draw, as `cache.seeded_permutation` does.
"""

from __future__ import annotations

import numpy as np

from cache import seeded_permutation
from cache.subset import first_of_each_class

_HELD_OUT, _LOW_SHOT = 1 << 40, 1 << 41
"""Streams of the seed, apart from those of the records' and the batches' order."""


def held_out(labels: np.ndarray, share: float = 0.1, seed: int = 0) -> np.ndarray:
    """(n,) bool: `share` of each class of `labels` (n,), for choosing settings; the others are trained on.

    One image of each class is always trained on; of the class's others, ceil(share · their number) are held
    out. So a class of two images or more has some on each side, if 0 < share ≤ 1. Label −1 is never held out.
    """
    order = seeded_permutation(len(labels), seed, _HELD_OUT)
    shuffled = labels[order]
    candidates = (shuffled >= 0) & (_rank_in_class(shuffled) > 0)
    mask = np.zeros(len(labels), dtype=bool)
    mask[order[first_of_each_class(shuffled, candidates, share)]] = True
    return mask


def shots(labels: np.ndarray, per_class: int, seed: int = 0, draw: int = 0) -> np.ndarray:
    """Sorted positions of `per_class` images of each class, of all that there are in a smaller one.

    Of one draw, the images of fewer shots are among those of more. Label −1 is never drawn.
    """
    order = seeded_permutation(len(labels), seed, _LOW_SHOT + draw)
    shuffled = labels[order]
    return np.sort(order[(shuffled >= 0) & (_rank_in_class(shuffled) < per_class)])


def fraction(labels: np.ndarray, share: float, seed: int = 0, draw: int = 0) -> np.ndarray:
    """Sorted positions of ceil(share · n_c) images of each class of n_c images, one at least if share > 0.

    Of one draw, the images of a smaller share are among those of a larger. Label −1 is never drawn.
    """
    order = seeded_permutation(len(labels), seed, _LOW_SHOT + draw)
    shuffled = labels[order]
    return np.sort(order[first_of_each_class(shuffled, shuffled >= 0, share)])


def _rank_in_class(labels: np.ndarray) -> np.ndarray:
    """(n,) int64: how many of the labels before each are equal to it."""
    by_class = np.argsort(labels, kind="stable")
    _, starts, counts = np.unique(labels[by_class], return_index=True, return_counts=True)
    rank = np.empty(len(labels), dtype=np.int64)
    rank[by_class] = np.arange(len(labels)) - np.repeat(starts, counts)
    return rank

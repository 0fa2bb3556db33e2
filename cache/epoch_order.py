"""The order of an epoch: at random over the whole split, or in a window over shards read in sequence.

The windowed order is a sort with noise: record number p of the reading order gets the key p + w·u, with u
uniform in [0, 1), and records are given in the order of their keys. So each batch mixes records from
a stretch of w consecutive ones, no record has to be kept longer than it takes to read w, and w / 2
wait in memory on average: four times the stretch of two alternating windows of the same memory.
"""

from __future__ import annotations

import numpy as np

from cache.permutation import random_bits, seeded_permutation

_SHARDS = 1 << 62
_NOISE = 1 << 63
_VIEWS = 1 << 61
"""Added to the epoch, so that the draws of one epoch have nothing in common."""


def global_order(items: int, *, shuffle: bool, seed: int, epoch: int) -> np.ndarray:
    """(items,) int64: every item once, in order or at random."""
    return seeded_permutation(items, seed, stream=epoch) if shuffle else np.arange(items)


def drawn_views(records: int, views: int, *, seed: int, epoch: int) -> np.ndarray:
    """(records,) int64 below `views`: the view of every record of a split that an epoch gives."""
    return (random_bits(records, seed, epoch + _VIEWS) % np.uint64(views)).astype(np.int64)


def reading_order(shards: np.ndarray, *, shuffle: bool, seed: int, epoch: int) -> np.ndarray:
    """(n,) int64: every item once, shard after shard, the shards in order or at random.

    `shards`: (n,) the shard of each item.
    """
    if not shuffle:
        return np.arange(len(shards))
    _, numbers = np.unique(shards, return_inverse=True)
    rank = seeded_permutation(int(numbers.max(initial=-1)) + 1, seed, stream=epoch + _SHARDS)
    return np.argsort(rank[numbers], kind="stable").astype(np.int64)


def windowed_order(reading: np.ndarray, window: int, *, seed: int, epoch: int) -> np.ndarray:
    """`reading` mixed over `window` items; a window of 0 leaves it as it is."""
    noise = random_bits(len(reading), seed, epoch + _NOISE) / 2.0**64
    return reading[np.argsort(np.arange(len(reading)) + window * noise, kind="stable")]

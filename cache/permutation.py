"""Orders that are the same for ever: of records in a split, and of batches in an epoch."""

from __future__ import annotations

import numpy as np


def random_bits(size: int, seed: int, stream: int = 0) -> np.ndarray:
    """(size,) uint64, uniform, for each (seed, stream), both below 2^64.

    Philox's raw output stays the same for ever: NumPy guarantees the streams of its bit generators, not what
    its distributions make of them (NEP 19).
    """
    key = np.array([seed, stream], dtype=np.uint64)
    return np.random.Philox(key=key).random_raw(size)


def seeded_permutation(size: int, seed: int, stream: int = 0) -> np.ndarray:
    """A permutation of range(size), (size,) int64, for each (seed, stream)."""
    return np.argsort(random_bits(size, seed, stream), kind="stable").astype(np.int64)

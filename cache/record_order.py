"""The order in which samples become records."""

from __future__ import annotations

import numpy as np


def record_order(samples: int, seed: int) -> np.ndarray:
    """A seeded permutation of range(samples): (samples,) int64, `sample_id` of each record.

    Shards of consecutive records are then class-mixed. Sorting Philox's raw output rather than calling
    `Generator.permutation` keeps the order the same for ever: NumPy guarantees the streams of its bit
    generators, not what its distributions make of them (NEP 19).
    """
    keys = np.random.Philox(key=seed).random_raw(samples)
    return np.argsort(keys, kind="stable").astype(np.int64)

"""What every contender writes and reads: the same records, the same batches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cache import seeded_permutation


@dataclass(frozen=True)
class Workload:
    """`records` records of (tokens, dim) float16 in shards, read in batches; each measured in `rounds`.

    The full one has the shapes of ViT-S/16: 150 KB a record, 617 MB in all.
    """

    records: int = 4096
    shard: int = 1024
    batch: int = 256
    tokens: int = 196
    dim: int = 384
    rounds: int = 7

    @property
    def shards(self) -> int:
        """Number of shards; all are of one size, as the batches are."""
        return self.records // self.shard

    @property
    def record_shape(self) -> tuple[int, int]:
        """(N, D)."""
        return self.tokens, self.dim

    @property
    def record_bytes(self) -> int:
        """Bytes of one record."""
        return math.prod(self.record_shape) * 2

    @property
    def bytes(self) -> int:
        """Bytes of all records."""
        return self.records * self.record_bytes

    @cached_property
    def patches(self) -> np.ndarray:
        """All records in memory, (records, N, D) float16 in [0, 1): what is written and must be read."""
        random = np.random.default_rng(0)
        patches = np.empty((self.records, *self.record_shape), dtype=np.float16)
        for part in np.split(patches, self.records // self.batch):
            part[...] = random.random(part.shape, dtype=np.float32)
        return patches

    @cached_property
    def order(self) -> np.ndarray:
        """The random batches, (batches, batch) int64: those of `TokenLoader`'s first epoch."""
        return seeded_permutation(self.records, 0).reshape(-1, self.batch)

    def shard_patches(self, shard: int) -> np.ndarray:
        """The records of one shard."""
        return self.patches[shard * self.shard : (shard + 1) * self.shard]

    def empty_batch(self) -> np.ndarray:
        """Memory for one batch."""
        return np.empty((self.batch, *self.record_shape), dtype=np.float16)


QUICK = Workload(records=512, shard=128, batch=32, tokens=49, dim=64, rounds=2)
"""Small enough for a test. Its figures mean nothing."""

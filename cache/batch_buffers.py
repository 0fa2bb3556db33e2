"""Memory for batches, used again."""

from __future__ import annotations

import sys
import threading

import numpy as np
import torch

from cache.batch import TokenArray
from cache.dataset import TokenDataset


class BatchBuffers:
    """A buffer is handed out again once no tensor points to it any more."""

    def __init__(self, dataset: TokenDataset, batch_size: int, pinned: bool) -> None:
        self._specs = dataset.arrays
        self._batch_size = batch_size
        self._pinned = pinned
        self._lock = threading.Lock()
        self._all: dict[TokenArray, list[np.ndarray]] = {kind: [] for kind in self._specs}

    def take(self, rows: int) -> dict[TokenArray, np.ndarray]:
        """An array of `rows` records for each kind, overwriting only what nobody holds."""
        with self._lock:  # iterators of one loader share it
            return {
                kind: self._free(kind).view(spec.storage_dtype).reshape(-1, *spec.record_shape)[:rows]
                for kind, spec in self._specs.items()
            }

    def _free(self, kind: TokenArray) -> np.ndarray:
        for position in range(len(self._all[kind])):
            # 2: the list, and getrefcount's own argument. Arrays and tensors made from a buffer, however
            # indirectly, refer to it itself, as it is the array that owns the memory.
            if sys.getrefcount(self._all[kind][position]) <= 2:
                return self._all[kind][position]
        size = self._batch_size * self._specs[kind].record_bytes
        memory = torch.empty(size, dtype=torch.uint8, pin_memory=self._pinned)
        self._all[kind].append(memory.numpy())
        return self._all[kind][-1]

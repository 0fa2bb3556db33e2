"""The fast path from a store to a probe: gather ahead, in threads, into memory that is used again."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from cache.batch import TokenArray, TokenBatch
from cache.dataset import TokenDataset
from cache.permutation import seeded_permutation
from configs import UserError

AHEAD = 2
"""Batches read at once, each by its own thread, while the current one is used."""


class _Buffers:
    """Memory for batches. A buffer is handed out again once no tensor points to it any more."""

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


class TokenLoader:
    """Batches of a `TokenDataset` on `device`, in an order that (seed, epoch) decides.

    Iterating gives the epoch set by `set_epoch` (0 at first). Shuffling is global: the store makes each
    record reachable alone.
    """

    def __init__(
        self,
        dataset: TokenDataset,
        batch_size: int,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        device: torch.device | None = None,
    ) -> None:
        if batch_size < 1:
            raise UserError(f"a batch holds one record or more, not {batch_size}")
        self.dataset = dataset
        self.batch_size = min(batch_size, len(dataset))
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = seed
        self.device = device or torch.device("cpu")
        self._epoch = 0
        self._buffers = _Buffers(dataset, self.batch_size, pinned=self.device.type == "cuda")

    def __len__(self) -> int:
        """Batches in an epoch."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole if self.drop_last or not rest else whole + 1

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration."""
        self._epoch = epoch

    def _order(self) -> np.ndarray:
        if not self.shuffle:
            return np.arange(len(self.dataset))
        return seeded_permutation(len(self.dataset), self.seed, stream=self._epoch)

    def _read(self, items: np.ndarray) -> TokenBatch:
        return self.dataset.gather(items, self._buffers.take(len(items)))

    def __iter__(self) -> Iterator[TokenBatch]:
        order = self._order()
        batches = [
            order[start : start + self.batch_size]
            for start in range(0, len(self) * self.batch_size, self.batch_size)
        ]
        with ThreadPoolExecutor(AHEAD, "token-loader") as reader:
            ahead = [reader.submit(self._read, items) for items in batches[:AHEAD]]
            for number in range(len(batches)):
                batch = ahead.pop(0).result()
                if number + AHEAD < len(batches):
                    ahead.append(reader.submit(self._read, batches[number + AHEAD]))
                yield self._on_device(batch)

    def _on_device(self, batch: TokenBatch) -> TokenBatch:
        if self.device.type == "cpu":
            return batch
        return batch.to(self.device, non_blocking=False)

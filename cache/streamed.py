"""Batches of a split that does not fit into memory.

Several threads read stretches of consecutive records straight into free slots; a batch is copied together
from the slots of its records, which are then free. Reading is as far ahead as there are slots.
"""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from cache.batch import TokenArray, TokenBatch
from cache.batch_buffers import BatchBuffers
from cache.dataset import TokenDataset
from cache.rows import copy_rows
from cache.stream_plan import READS_IN_FLIGHT, StreamPlan


class _Slots:
    """Memory for `count` records of every kind, in any order."""

    def __init__(self, dataset: TokenDataset, count: int) -> None:
        self._dataset = dataset
        self._memory = {
            kind: np.empty((count, spec.record_bytes), dtype=np.uint8)
            for kind, spec in dataset.arrays.items()
        }
        self._slot_of = np.empty(len(dataset), dtype=np.int64)
        self._free = list(range(count))

    def have(self, count: int) -> bool:
        """Whether `count` slots are free."""
        return len(self._free) >= count

    def reserve(self, items: np.ndarray) -> list[int]:
        """Slots for `items`."""
        taken = self._free[-len(items) :]
        del self._free[-len(items) :]
        self._slot_of[items] = taken
        return taken

    def read(self, items: np.ndarray, slots: list[int]) -> None:
        """Read `items`, consecutive records of one view of a shard, into `slots`."""
        dataset = self._dataset
        first, view = int(dataset.records[items[0]]), int(dataset.item_views[items[0]])
        for kind, spec in dataset.arrays.items():
            memory = self._memory[kind].data.cast("B")
            rows = [memory[slot * spec.record_bytes :][: spec.record_bytes] for slot in slots]
            dataset.split.read(spec.name, first, rows, view)

    def give(self, items: np.ndarray, buffers: dict[TokenArray, np.ndarray]) -> None:
        """Copy `items` into the rows of `buffers`; their slots are free then."""
        slots = self._slot_of[items].tolist()
        for kind, memory in self._memory.items():
            copy_rows(memory, slots, buffers[kind].view(np.uint8).reshape(len(items), memory.shape[1]))
        self._free.extend(slots)


def streamed(
    dataset: TokenDataset, plan: StreamPlan, slots: int, buffers: BatchBuffers
) -> Generator[TokenBatch]:
    """The plan's batches. Memory: `slots` records, and the batches."""
    assert plan.slots <= slots
    waiting = _Slots(dataset, min(slots, len(plan.reading)))
    reads: list[Future[None]] = []
    done = 0
    with ThreadPoolExecutor(READS_IN_FLIGHT, "token-stream") as threads:
        try:
            for items, needed in zip(plan.batches, plan.runs_before, strict=True):
                for run in plan.runs[len(reads) :]:
                    if not waiting.have(run.stop - run.start):
                        break
                    found = plan.reading[run]
                    reads.append(threads.submit(waiting.read, found, waiting.reserve(found)))
                for read in reads[done:needed]:
                    read.result()
                done = max(done, needed)
                filled = buffers.take(len(items))
                waiting.give(items, filled)
                yield dataset.batch(items, filled)
                del filled
        finally:
            threads.shutdown(cancel_futures=True)

"""Which items of an epoch's order make up each batch, in each of several processes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Batching:
    """Batches of `batch_size` items, of which `process` of `processes` gets every n-th item.

    All processes have as many batches; where the last one holds fewer items than there are processes,
    some get none of it. What all of them do together does not depend on their number.
    """

    batch_size: int
    drop_last: bool = False
    process: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        assert 0 <= self.process < self.processes

    @property
    def own_batch_size(self) -> int:
        """Items of a batch that this process gets at most."""
        return -(-self.batch_size // self.processes)

    def count(self, items: int) -> int:
        """Batches that `items` make."""
        whole, rest = divmod(items, self.batch_size)
        return whole if self.drop_last or not rest else whole + 1

    def sizes(self, items: int, process: int | None = None) -> list[int]:
        """Items of each batch that `process`, or this one, gets."""
        own = self.process if process is None else process
        starts = range(0, self.count(items) * self.batch_size, self.batch_size)
        return [len(range(own, min(self.batch_size, items - start), self.processes)) for start in starts]

    def batches(self, order: np.ndarray) -> list[np.ndarray]:
        """This process's items of every batch of `order`."""
        last = min(len(order), self.count(len(order)) * self.batch_size)
        starts = range(0, last, self.batch_size)
        return [order[start : start + self.batch_size][self.process :: self.processes] for start in starts]

    def stretch(self, reading: np.ndarray) -> np.ndarray:
        """The consecutive part of `reading` that fills this process's batches; no two of them overlap."""
        totals = [sum(self.sizes(len(reading), process)) for process in range(self.process + 1)]
        start = sum(totals[:-1])
        return reading[start : start + totals[-1]]


def cut(order: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    """`order` in pieces of `sizes`."""
    return np.split(order, np.cumsum(sizes)[:-1]) if sizes else []

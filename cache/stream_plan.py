"""What a streamed epoch reads, when, and how much of it waits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rich.filesize import decimal

from cache.batching import Batching, cut
from cache.dataset import TokenDataset
from cache.epoch_order import global_order, reading_order, windowed_order
from cache.read_ahead import AHEAD
from cache.record_file import MOST_ROWS
from configs import UserError

READS_IN_FLIGHT = 4
READ_BYTES = 8 * 2**20
"""Of one read."""


@dataclass(frozen=True)
class StreamLayout:
    """How memory is used: `slots` for records that are read or wait, `read_records` of them in one read."""

    slots: int
    read_records: int
    batch_size: int

    @property
    def window(self) -> int:
        """Records that a shuffle mixes: twice those that can wait, see `epoch_order`."""
        return 2 * (self.slots - READS_IN_FLIGHT * self.read_records - self.batch_size)


def stream_layout(record_bytes: int, batch_size: int, memory: int) -> StreamLayout:
    """Divide `memory` bytes. Raises `UserError` where they do not suffice.

    Beside the slots there are the batch in use, one that is made, and those that wait.
    """
    slots = memory // record_bytes - (AHEAD + 2) * batch_size
    least = 2 * batch_size + 2 * READS_IN_FLIGHT
    if slots < least:
        needed = (least + (AHEAD + 2) * batch_size) * record_bytes
        raise UserError(
            f"{decimal(memory)} of memory are too few to stream batches of {batch_size:,} records of "
            f"{record_bytes:,} bytes: give {needed:,} bytes or more, or a smaller batch"
        )
    fitting = (slots - 2 * batch_size) // (2 * READS_IN_FLIGHT)
    read_records = min(fitting, MOST_ROWS, max(1, READ_BYTES // record_bytes))
    return StreamLayout(slots, read_records, batch_size)


@dataclass(frozen=True)
class StreamPlan:
    """Batches of an epoch, or of what is left of it, and the reads that they need."""

    reading: np.ndarray
    """(n,) items in the order that they are read."""
    runs: list[slice]
    """Slices of `reading`, one read each."""
    batches: list[np.ndarray]
    """Items of every batch."""
    runs_before: list[int]
    """How many runs must have been read before each batch."""
    slots: int
    """Records that wait at most."""


def stream_plan(
    dataset: TokenDataset, reading: np.ndarray, batches: list[np.ndarray], read_records: int
) -> StreamPlan:
    """The reads for `batches`, which leave out what `reading` has beyond them."""
    wanted = np.zeros(len(dataset), dtype=bool)
    wanted[np.concatenate([*batches, np.empty(0, np.int64)])] = True
    reading = reading[wanted[reading]]
    runs = runs_of_items(dataset, reading, read_records)
    place = np.empty(len(dataset), dtype=np.int64)
    place[reading] = np.arange(len(reading))
    ends = np.array([run.stop for run in runs], dtype=np.int64)
    last = [place[items].max(initial=-1) for items in batches]
    runs_before = (
        np.searchsorted(ends, np.maximum.accumulate(np.array(last, dtype=np.int64)), side="right") + 1
    )
    runs_before = np.minimum(runs_before, len(runs))
    given = np.cumsum([0, *map(len, batches)])[:-1]
    waiting = ends[runs_before - 1] - given if len(runs) else given
    return StreamPlan(reading, runs, batches, runs_before.tolist(), int(waiting.max(initial=0)))


def runs_of_items(dataset: TokenDataset, items: np.ndarray, most: int) -> list[slice]:
    """`items` in slices of at most `most`, each of consecutive records of one view of a shard."""
    if not len(items):
        return []
    # neighbours in different views are not consecutive items
    breaks = (
        (np.diff(dataset.records[items]) != 1) | (np.diff(items) != 1) | (np.diff(dataset.shards[items]) != 0)
    )
    starts = [0, *(np.flatnonzero(breaks) + 1).tolist()]
    return [
        slice(first, min(first + most, end))
        for start, end in zip(starts, [*starts[1:], len(items)], strict=True)
        for first in range(start, end, most)
    ]


def streamed_batches(
    dataset: TokenDataset,
    items: np.ndarray,
    batching: Batching,
    layout: StreamLayout,
    *,
    shuffle: bool,
    seed: int,
    epoch: int,
    first: int = 0,
) -> StreamPlan:
    """An epoch of `items`, ascending within each shard, from batch number `first` on.

    Shuffled, it is mixed over the widest window whose waiting records have slots; where all records have, and
    no other process reads its share, in the global order.
    """
    whole = items[reading_order(dataset.shards[items], shuffle=shuffle, seed=seed, epoch=epoch)]
    if shuffle and batching.processes == 1 and len(whole) <= layout.slots:
        order = items[global_order(len(items), shuffle=True, seed=seed, epoch=epoch)]
        return stream_plan(dataset, whole, batching.batches(order)[first:], layout.read_records)
    reading = batching.stretch(whole)
    sizes = batching.sizes(len(items))

    def plan(window: int, first: int = 0) -> StreamPlan:
        order = windowed_order(reading, window, seed=seed, epoch=epoch)
        return stream_plan(dataset, reading, cut(order, sizes)[first:], layout.read_records)

    window = layout.window if shuffle else 0
    while plan(window).slots > layout.slots:
        window = int(0.95 * window)
    return plan(window, first)

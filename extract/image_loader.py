"""Decoding images in worker processes, in the order that records are written."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

import numpy as np
import torch
from PIL import Image
from torch.multiprocessing import Pipe, Process

from configs import UserError
from extract.image_views import ImageViews
from extract.images import to_rgb, why_unreadable
from extract.sources import ImageSource

AHEAD = 2
"""Batches that each worker has: one that it decodes, one that waits to be fetched."""

_REMEDIES: dict[int, str] = {
    signal.SIGKILL: "if memory ran out, give fewer --workers",
    signal.SIGBUS: "if the shared memory in /dev/shm ran out, enlarge it or give fewer --workers",
}


@dataclass(frozen=True)
class ImageBatch:
    """One view of consecutive records: images (B, 3, H, W) uint8; those that could not be read are zeros."""

    records: tuple[int, ...]
    images: torch.Tensor
    failures: dict[int, str]
    """Row of the batch → which image it is and why it could not be read."""
    view: int = 0


def load_images(
    source: ImageSource,
    sample_id: np.ndarray,
    batches: Sequence[Sequence[int]],
    views: ImageViews,
    *,
    workers: int,
    pin_memory: bool,
) -> Iterator[ImageBatch]:
    """Read `batches` (lists of records) in order, each once for every view, decoding each image once.

    `sample_id`: record → position in `source`.
    `workers` processes decode, or without any this one. Raises `UserError` as soon as a worker has died.
    """
    reader = _Reader(source, sample_id, views)
    workers = min(workers, len(batches))
    longest = max(map(len, batches), default=0)
    size = (views.views, longest, *views.input_size)
    slots = torch.empty(max(1, workers), AHEAD, *size, dtype=torch.uint8)
    if workers:
        return _read_in_processes(reader, batches, slots.share_memory_(), pin_memory)
    return _read_here(reader, batches, slots[0, 0], pin_memory)


@dataclass(frozen=True)
class _Reader:
    """What a worker needs."""

    source: ImageSource
    sample_id: np.ndarray
    views: ImageViews

    def decoded(self, sample: int) -> Image.Image:
        """The image as RGB."""
        return to_rgb(self.source.load(sample), self.views.least_side)

    def read(self, records: Sequence[int], images: np.ndarray, reading: torch.Tensor) -> dict[int, str]:
        """Fill the first rows of `images` (V, …); what failed. `reading` (1,) is the sample at hand."""
        failures = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow can read is taken, oddities and all
            for row, record in enumerate(records):
                sample = int(self.sample_id[record])
                reading[0] = sample
                try:
                    images[:, row] = self.views(self.decoded(sample), sample)
                except Exception as error:  # Pillow's plugins raise anything on damaged files
                    images[:, row] = 0
                    failures[row] = f"{self.source.describe(sample)}: {why_unreadable(error)}"
        return failures


def _read_here(
    reader: _Reader, batches: Sequence[Sequence[int]], images: torch.Tensor, pin_memory: bool
) -> Iterator[ImageBatch]:
    reading = torch.empty(1, dtype=torch.int64)
    for records in batches:
        failures = reader.read(records, images.numpy(), reading)
        for view, rows in enumerate(images):
            yield ImageBatch(tuple(records), _copied(rows[: len(records)], pin_memory), failures, view)


def _read_in_processes(
    reader: _Reader, batches: Sequence[Sequence[int]], slots: torch.Tensor, pin_memory: bool
) -> Iterator[ImageBatch]:
    """Deal batch n to worker n modulo their number; a batch's slot is free for another once it is copied."""
    team: list[_Worker] = []
    try:
        for own in slots:
            team.append(_Worker(reader, own, [worker.connection for worker in team]))
        ahead = len(team) * AHEAD
        for number, records in enumerate(batches[:ahead]):
            team[number % len(team)].ask(number // len(team), records)
        for number, records in enumerate(batches):
            turn, place = divmod(number, len(team))
            failures = _answer(team, place)
            images = _copied(slots[place, turn % AHEAD, :, : len(records)], pin_memory)
            if number + ahead < len(batches):
                team[place].ask(turn, batches[number + ahead])
            for view, rows in enumerate(images):
                yield ImageBatch(tuple(records), rows, failures, view)
    finally:
        for worker in team:
            worker.process.terminate()  # it holds nothing that others wait for
        for worker in team:
            worker.process.join()
            worker.connection.close()


class _Worker:
    """A process that decodes, the pipe to it, and the sample that it reads."""

    def __init__(self, reader: _Reader, slots: torch.Tensor, others: list[Connection]) -> None:
        self.source = reader.source
        self.reading = torch.full((1,), -1, dtype=torch.int64).share_memory_()
        self.connection, theirs = Pipe()
        foreign = [*others, self.connection]
        self.process = Process(
            target=_serve, args=(theirs, foreign, reader, slots, self.reading), daemon=True
        )
        self.process.start()
        theirs.close()

    def ask(self, turn: int, records: Sequence[int]) -> None:
        """Send for a batch. That a worker has died is noticed where its answer is awaited."""
        with suppress(ConnectionError):
            self.connection.send((turn % AHEAD, records))

    def death(self) -> UserError:
        """How it died, at which image, and what to do."""
        self.process.join()
        code = self.process.exitcode or 0
        sample = int(self.reading)
        where = f"while reading {self.source.describe(sample)}" if sample >= 0 else "before its first image"
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        remedy = _REMEDIES.get(-code, "mend or remove that image, or see more with --workers 0")
        return UserError(f"a data worker {how} {where}: {remedy}")


def _serve(
    connection: Connection,
    foreign: list[Connection],
    reader: _Reader,
    slots: torch.Tensor,
    reading: torch.Tensor,
) -> None:
    """Answer until the main process has enough, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the main process ends the workers
    torch.set_num_threads(1)
    for inherited in foreign:  # as long as a copy is open, that the main process is gone would not show
        inherited.close()
    with suppress(EOFError, ConnectionError):
        while True:
            slot, records = connection.recv()
            connection.send(reader.read(records, slots[slot].numpy(), reading))


def _answer(team: list[_Worker], place: int) -> dict[int, str]:
    """What failed in the next batch of the worker at `place`. Raises `UserError` when any worker has died."""
    worker = team[place]
    ready = wait([worker.connection, *(other.process.sentinel for other in team)])
    for other in team:
        if other.process.sentinel in ready:
            raise other.death()
    try:
        failures: dict[int, str] = worker.connection.recv()
    except (EOFError, ConnectionError):
        raise worker.death() from None
    return failures


def _copied(images: torch.Tensor, pin_memory: bool) -> torch.Tensor:
    """`images` in memory of its own, page-locked where a device will fetch it."""
    return torch.empty(images.shape, dtype=images.dtype, pin_memory=pin_memory).copy_(images)

"""Reading images in worker processes, in the order that records are written."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np
import torch
from torch.multiprocessing import Pipe, Process

from configs import UserError
from extract.batch_reader import BatchReader, PixelReader
from extract.device_decoding import DeviceReader
from extract.image_views import ImageViews
from extract.sources import ImageSource

AHEAD = 2
"""Batches that each worker has: one that it reads, one that waits to be fetched."""

HERE = (0, 0)
"""The place of the main process where it reads itself."""

_REMEDIES: dict[int, str] = {
    signal.SIGKILL: "if memory ran out, give fewer --workers",
    signal.SIGBUS: "if the shared memory in /dev/shm ran out, enlarge it or give fewer --workers",
}


@dataclass(frozen=True)
class ImageBatch:
    """One view of consecutive records: images (B, 3, H, W) uint8; those that could not be read are zeros.

    They are on the CPU, or where the device decodes, on the device.
    """

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
    device: torch.device,
) -> Iterator[ImageBatch]:
    """Read `batches` (lists of records) in order, each once for every view, decoding each image once.

    `sample_id`: record → position in `source`. `device`: where the batches are used.
    `workers` processes read, or without any this one. Raises `UserError` as soon as a worker has died.
    """
    workers = min(workers, len(batches))
    longest = max(map(len, batches), default=0)
    reader = _reader(source, sample_id, views, (workers, longest), device)
    if workers:
        return _read_in_processes(reader, batches, workers)
    return _read_here(reader, batches)


def _reader(
    source: ImageSource,
    sample_id: np.ndarray,
    views: ImageViews,
    room: tuple[int, int],
    device: torch.device,
) -> BatchReader[Any]:
    """What decodes where `views` say. `room`: workers, and images of the largest batch."""
    if views.device_resize is not None:
        return DeviceReader(source, sample_id, views.device_resize, views.input_size, device)
    workers, longest = room
    size = (max(1, workers), AHEAD, views.views, longest, *views.input_size)
    slots = torch.empty(size, dtype=torch.uint8)
    if workers:
        slots.share_memory_()
    return PixelReader(source, sample_id, views, slots, pin_memory=device.type == "cuda")


def _read_here(reader: BatchReader[Any], batches: Sequence[Sequence[int]]) -> Iterator[ImageBatch]:
    reading = torch.empty(1, dtype=torch.int64)
    for records in batches:
        images, failures = reader.images(HERE, records, reader.read(HERE, records, reading))
        for view, rows in enumerate(images):
            yield ImageBatch(tuple(records), rows, failures, view)


def _read_in_processes(
    reader: BatchReader[Any], batches: Sequence[Sequence[int]], workers: int
) -> Iterator[ImageBatch]:
    """Deal batch n to worker n modulo their number; it is asked for more once a batch's images are taken."""
    team: list[_Worker] = []
    try:
        for number in range(workers):
            team.append(_Worker(reader, number, [worker.connection for worker in team]))
        ahead = len(team) * AHEAD
        for number, records in enumerate(batches[:ahead]):
            team[number % len(team)].ask(number // len(team), records)
        for number, records in enumerate(batches):
            turn, place = divmod(number, len(team))
            answer = _answer(team, place)
            images, failures = reader.images((place, turn % AHEAD), records, answer)
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
    """A process that reads, the pipe to it, and the sample that it reads."""

    def __init__(self, reader: BatchReader[Any], number: int, others: list[Connection]) -> None:
        self.source, self.number = reader.source, number
        self.reading = torch.full((1,), -1, dtype=torch.int64).share_memory_()
        self.connection, theirs = Pipe()
        foreign = [*others, self.connection]
        self.process = Process(target=_serve, args=(theirs, foreign, reader, self.reading), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, turn: int, records: Sequence[int]) -> None:
        """Send for a batch. That a worker has died is noticed where its answer is awaited."""
        with suppress(ConnectionError):
            self.connection.send(((self.number, turn % AHEAD), records))

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
    connection: Connection, foreign: list[Connection], reader: BatchReader[Any], reading: torch.Tensor
) -> None:
    """Answer until the main process has enough, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the main process ends the workers
    torch.set_num_threads(1)
    for inherited in foreign:  # as long as a copy is open, that the main process is gone would not show
        inherited.close()
    with suppress(EOFError, ConnectionError):
        while True:
            place, records = connection.recv()
            connection.send(reader.read(place, records, reading))


def _answer(team: list[_Worker], place: int) -> Any:
    """To the next batch of the worker at `place`. Raises `UserError` when any worker has died."""
    worker = team[place]
    ready = wait([worker.connection, *(other.process.sentinel for other in team)])
    for other in team:
        if other.process.sentinel in ready:
            raise other.death()
    try:
        return worker.connection.recv()
    except (EOFError, ConnectionError):
        raise worker.death() from None

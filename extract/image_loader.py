"""Decoding images in worker processes, in the order that records are written."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType, TracebackType

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, get_worker_info

from configs import UserError
from extract.images import to_rgb, why_unreadable
from extract.sources import ImageSource

_DEATH = re.compile(r"DataLoader worker \(pid(?:\(s\))? (\d+).*?\) (?:is )?([^.]+)")
"""How torch says that a worker has died: its process, and of what."""


@dataclass(frozen=True)
class ImageBatch:
    """Consecutive records: images (B, 3, H, W) uint8; those that could not be read are zeros."""

    records: tuple[int, ...]
    images: torch.Tensor
    failures: dict[int, str]
    """Row of the batch → which image it is and why it could not be read."""

    def pin_memory(self) -> ImageBatch:
        """The same batch in page-locked memory (torch's DataLoader calls this)."""
        return ImageBatch(self.records, self.images.pin_memory(), self.failures)


class _Records(Dataset[ImageBatch]):
    """A whole batch of records at a time, so that a worker sends one block of memory."""

    def __init__(
        self,
        source: ImageSource,
        sample_id: np.ndarray,
        transform: Callable[[Image.Image], np.ndarray],
        input_size: Sequence[int],
        workers: int,
    ) -> None:
        self._source = source
        self._sample_id = sample_id
        self._transform = transform
        self._input_size = tuple(input_size)
        self._reading = torch.zeros(workers, 2, dtype=torch.int64).share_memory_()
        """Each worker's process and the sample it reads: what is known of a worker that died."""

    def __getitems__(self, records: list[int]) -> ImageBatch:
        images = np.zeros((len(records), *self._input_size), dtype=np.uint8)
        failures = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow can read is taken, oddities and all
            for row, record in enumerate(records):
                sample = int(self._sample_id[record])
                self._note(sample)
                try:
                    images[row] = self._transform(to_rgb(self._source.load(sample)))
                except Exception as error:  # Pillow's plugins raise anything on damaged files
                    failures[row] = f"{self._source.describe(sample)}: {why_unreadable(error)}"
        return ImageBatch(tuple(records), torch.from_numpy(images), failures)

    def _note(self, sample: int) -> None:
        worker = get_worker_info()
        if worker is not None:
            self._reading[worker.id] = torch.tensor((os.getpid(), sample))

    def read_by(self, process: int) -> str:
        """The image that the worker `process` was reading last."""
        samples = self._reading[self._reading[:, 0] == process, 1].tolist()
        return f" while reading {self._source.describe(samples[0])}" if samples else ""


def _leave_ending_to_the_main_process(_: int) -> None:
    # Ctrl-C reaches the whole process group; the main process stops the workers itself
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.excepthook = _hush_lost_connections


def _hush_lost_connections(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    # the thread that hands batches over reports here that the main process has gone in the middle of one
    if not isinstance(error, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, trace)


def _as_is(batch: ImageBatch) -> ImageBatch:
    return batch


def load_images(
    source: ImageSource,
    sample_id: np.ndarray,
    batches: Sequence[Sequence[int]],
    transform: Callable[[Image.Image], np.ndarray],
    input_size: Sequence[int],
    *,
    workers: int,
    pin_memory: bool,
) -> Iterator[ImageBatch]:
    """Read `batches` (lists of records) in order. `sample_id`: record → position in `source`.

    Raises `UserError` when a worker dies. That can come between two batches too, wherever the main thread is.
    """
    records = _Records(source, sample_id, transform, input_size, workers)
    loaded = iter(
        DataLoader(
            records,
            batch_sampler=batches,  # type: ignore[arg-type]  # any iterable of lists will do
            num_workers=workers,
            collate_fn=_as_is,  # type: ignore[arg-type]  # batches come whole
            pin_memory=pin_memory,
            worker_init_fn=_leave_ending_to_the_main_process,
        )
    )
    return _until_a_worker_dies(loaded, records)


def _until_a_worker_dies(loaded: Iterator[ImageBatch], records: _Records) -> Iterator[ImageBatch]:
    with _deaths_explained(records):
        try:
            yield from loaded
        except RuntimeError as error:
            raise _in_words(error, records) from None


@contextmanager
def _deaths_explained(records: _Records) -> Iterator[None]:
    """torch raises what a dead worker leaves in the signal handler for ended children: explain it there."""
    if threading.current_thread() is not threading.main_thread():
        yield  # torch has no handler here either, and looks after its workers every five seconds
        return
    before = signal.getsignal(signal.SIGCHLD)

    def explain(number: int, frame: FrameType | None) -> None:
        try:
            if callable(before):
                before(number, frame)
        except RuntimeError as error:
            raise _in_words(error, records) from None

    signal.signal(signal.SIGCHLD, explain)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


def _in_words(error: RuntimeError, records: _Records) -> Exception:
    """`error`, or a `UserError` where it is a worker's death."""
    if isinstance(error.__cause__, UserError):
        return error.__cause__  # said already, and noticed once more
    death = _DEATH.search(str(error))
    if death is None:
        return error
    process, how = int(death[1]), death[2]
    return UserError(
        f"a data worker (process {process}) died{records.read_by(process)}: {how}; "
        "mend or remove the image if it dies there again, or give fewer --workers if memory ran out"
    )

"""Decoding images in worker processes, in the order that records are written."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from extract.images import to_rgb
from extract.sources import ImageSource


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
    ) -> None:
        self._source = source
        self._sample_id = sample_id
        self._transform = transform
        self._input_size = tuple(input_size)

    def __getitems__(self, records: list[int]) -> ImageBatch:
        images = np.zeros((len(records), *self._input_size), dtype=np.uint8)
        failures = {}
        for row, record in enumerate(records):
            sample = int(self._sample_id[record])
            try:
                images[row] = self._transform(to_rgb(self._source.load(sample)))
            except Exception as error:  # Pillow's plugins raise anything on damaged files
                failures[row] = f"{self._source.describe(sample)}: {error or type(error).__name__}"
        return ImageBatch(tuple(records), torch.from_numpy(images), failures)


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
    """Read `batches` (lists of records) in order. `sample_id`: record → position in `source`."""
    return iter(
        DataLoader(
            _Records(source, sample_id, transform, input_size),
            batch_sampler=batches,  # type: ignore[arg-type]  # any iterable of lists will do
            num_workers=workers,
            collate_fn=_as_is,  # type: ignore[arg-type]  # batches come whole
            pin_memory=pin_memory,
            worker_init_fn=_leave_ending_to_the_main_process,
        )
    )

"""What a data worker reads of a batch, and the images that the main process makes of it."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np
import torch

from extract.image_views import ImageViews
from extract.images import to_rgb, why_unreadable
from extract.sources import ImageSource

Answer = TypeVar("Answer")
Place = tuple[int, int]
"""A worker's number, and which of the batches that it has."""


class BatchReader(ABC, Generic[Answer]):
    """`read` runs in the data workers, which get a copy of the reader, `images` in the main process.

    `sample_id`: record → position in `source`.
    """

    def __init__(self, source: ImageSource, sample_id: np.ndarray) -> None:
        self.source, self.sample_id = source, sample_id

    @abstractmethod
    def read(self, place: Place, records: Sequence[int], reading: torch.Tensor) -> Answer:
        """Read `records`. `reading` (1,) int64 is the sample at hand."""

    @abstractmethod
    def images(
        self, place: Place, records: Sequence[int], answer: Answer
    ) -> tuple[torch.Tensor, dict[int, str]]:
        """(V, B, 3, H, W) uint8, zeros where an image could not be read; row → which, and why."""

    def each(
        self, records: Sequence[int], reading: torch.Tensor, take: Callable[[int, int], None]
    ) -> dict[int, str]:
        """Call `take` with the row and the sample of every record; row → why that failed."""
        failures = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow can read is taken, oddities and all
            for row, record in enumerate(records):
                sample = int(self.sample_id[record])
                reading[0] = sample
                try:
                    take(row, sample)
                except Exception as error:  # Pillow's plugins raise anything on damaged files
                    failures[row] = self.failure(sample, error)
        return failures

    def failure(self, sample: int, error: Exception) -> str:
        """Which image could not be read, and why."""
        return f"{self.source.describe(sample)}: {why_unreadable(error)}"


class PixelReader(BatchReader[dict[int, str]]):
    """Workers decode and resize, each into memory that it shares with the main process.

    `slots` (workers, batches that each has, V, B, 3, H, W) uint8. The answer is what failed.
    """

    def __init__(
        self,
        source: ImageSource,
        sample_id: np.ndarray,
        views: ImageViews,
        slots: torch.Tensor,
        *,
        pin_memory: bool,
    ) -> None:
        super().__init__(source, sample_id)
        self.views, self.slots, self.pin_memory = views, slots, pin_memory

    def read(self, place: Place, records: Sequence[int], reading: torch.Tensor) -> dict[int, str]:
        slot = self.slots[place].numpy()

        def take(row: int, sample: int) -> None:
            slot[:, row] = self.views(to_rgb(self.source.load(sample), self.views.least_side), sample)

        failures = self.each(records, reading, take)
        slot[:, list(failures)] = 0
        return failures

    def images(
        self, place: Place, records: Sequence[int], answer: dict[int, str]
    ) -> tuple[torch.Tensor, dict[int, str]]:
        """In memory of their own, page-locked where a device will fetch them: their slot is free again."""
        read = self.slots[place][:, : len(records)]
        return torch.empty(read.shape, dtype=read.dtype, pin_memory=self.pin_memory).copy_(read), answer

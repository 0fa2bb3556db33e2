"""Several splits as one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from PIL import Image

from configs import UserError
from extract.sources.source import ImageSource


class JoinedSource(ImageSource):
    """The images of `parts`, one after another: `train+val`, as many data sets are published to be used."""

    def __init__(self, parts: Sequence[ImageSource]) -> None:
        if len({part.classes for part in parts}) > 1:
            raise UserError("splits of different classes cannot be joined")
        self.classes = parts[0].classes
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    @cached_property
    def labels(self) -> np.ndarray:
        return np.concatenate([part.labels for part in self._parts])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over those of the parts."""
        return hashlib.sha256("\n".join(part.fingerprint for part in self._parts).encode()).hexdigest()

    def load(self, index: int) -> Image.Image:
        part, place = self._place(index)
        return part.load(place)

    def describe(self, index: int) -> str:
        part, place = self._place(index)
        return part.describe(place)

    def _place(self, index: int) -> tuple[ImageSource, int]:
        number = int(np.searchsorted(self._ends, index, side="right"))
        return self._parts[number], index - int(self._ends[number] - len(self._parts[number]))

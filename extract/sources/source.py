"""What extraction asks of a data set."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from PIL import Image


class ImageSource(ABC):
    """One split of a data set: images at random access, with their classes. Picklable."""

    classes: tuple[str, ...]

    @property
    @abstractmethod
    def labels(self) -> np.ndarray:
        """(n,) int64 class of every image."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A hash that changes when the images, their order or their labels do."""

    @abstractmethod
    def load(self, index: int) -> Image.Image:
        """Image `index`, in whatever mode and orientation it is stored."""

    @abstractmethod
    def describe(self, index: int) -> str:
        """How a message names image `index`."""

    def __len__(self) -> int:
        return len(self.labels)

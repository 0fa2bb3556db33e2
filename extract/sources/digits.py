"""The embedded data set: scikit-learn's 1,797 handwritten digits, with a fixed split."""

from __future__ import annotations

import hashlib
from functools import cached_property

import numpy as np
from PIL import Image

from extract.sources.source import ImageSource

TEST_SIZE = 360
"""Test images; the other 1,437 train. The backbone bundled with this package saw the train part only."""


class DigitsSource(ImageSource):
    """8×8 grey images of the digits 0–9 (UCI optical recognition of handwritten digits).

    The split is stratified and fixed: `train` 1,437 images, `test` 360.
    """

    splits = ("train", "test")
    classes = tuple(str(digit) for digit in range(10))

    def __init__(self, split: str) -> None:
        self.split = split

    @cached_property
    def _members(self) -> tuple[np.ndarray, np.ndarray]:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        digits = load_digits()
        train, test = train_test_split(
            np.arange(len(digits.target)),
            test_size=TEST_SIZE,
            stratify=digits.target,
            random_state=0,
        )
        chosen = np.sort(train if self.split == "train" else test)
        pixels = np.rint(digits.images[chosen] * (255 / 16)).astype(np.uint8)
        return pixels, digits.target[chosen].astype(np.int64)

    @property
    def labels(self) -> np.ndarray:
        return self._members[1]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over pixels and labels."""
        pixels, labels = self._members
        return hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest()

    def load(self, index: int) -> Image.Image:
        """Image `index` of the split, mode L, 8×8."""
        return Image.fromarray(self._members[0][index])

    def describe(self, index: int) -> str:
        return f"digits/{self.split}[{index}]"

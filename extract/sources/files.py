"""Images in files of their own."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from extract.images import open_image
from extract.sources.compact_names import CompactNames
from extract.sources.source import ImageSource


class FileSource(ImageSource):
    """The files `names`, relative to `root`, and their classes' numbers."""

    def __init__(
        self, root: Path, names: Iterable[str], labels: Iterable[int], classes: tuple[str, ...]
    ) -> None:
        self.root = root
        self.classes = classes
        self._names = CompactNames(names)
        self._labels = np.fromiter(labels, dtype=np.int64)

    @property
    def labels(self) -> np.ndarray:
        return self._labels

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over every file's path below the root, its size (−1: there is no such file), its class."""
        digest = hashlib.sha256()
        for index, label in enumerate(self._labels.tolist()):
            name = self._names[index]
            digest.update(os.fsencode(f"{name}\0{_size(self.root / name)}\0{label}\n"))
        return digest.hexdigest()

    def load(self, index: int) -> Image.Image:
        return open_image(self.root / self._names[index])

    def describe(self, index: int) -> str:
        path = os.fsencode(self.root / self._names[index])
        return path.decode(errors="backslashreplace")


def _size(path: Path) -> int:
    """What is no readable file has a size too: extraction names it, and --on-error says what happens."""
    try:
        found = path.stat()
    except OSError:
        return -1
    return found.st_size if stat.S_ISREG(found.st_mode) else -1

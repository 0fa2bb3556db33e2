"""Images in one folder per class (the layout of torchvision's ImageFolder)."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS, find_classes, make_dataset

from configs import UserError
from extract.sources.source import ImageSource

SPLIT_NAMES = ("train", "val", "validation", "test")


def folder_splits(root: Path) -> dict[str, Path]:
    """Split → its folder: `train`, `val`, … inside `root`, or `root` itself as the only split."""
    if not root.is_dir():
        raise UserError(f"no folder at {root}")
    found = {name: root / name for name in SPLIT_NAMES if (root / name).is_dir()}
    return found or {"train": root}


class FolderSource(ImageSource):
    """`root/CLASS/**/image`: classes and files in sorted order."""

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            classes, numbers = find_classes(str(root))
            self._samples = make_dataset(str(root), numbers, extensions=IMG_EXTENSIONS, allow_empty=True)
        except FileNotFoundError:
            raise UserError(f"{root} has no class folders: expected {root}/CLASS/image.jpg") from None
        if not self._samples:
            raise UserError(f"{root} has no images ({', '.join(IMG_EXTENSIONS)}) in its class folders")
        self.classes = tuple(classes)

    @cached_property
    def labels(self) -> np.ndarray:
        return np.array([label for _, label in self._samples], dtype=np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over every file's path below the root, its size and its class."""
        digest = hashlib.sha256()
        for name, label in self._samples:
            path = Path(name)
            line = f"{path.relative_to(self.root).as_posix()}\0{path.stat().st_size}\0{label}\n"
            digest.update(line.encode())
        return digest.hexdigest()

    def load(self, index: int) -> Image.Image:
        return Image.open(self._samples[index][0])

    def describe(self, index: int) -> str:
        return str(self._samples[index][0])

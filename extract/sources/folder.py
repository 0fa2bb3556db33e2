"""Images in one folder per class (the layout of torchvision's ImageFolder)."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from torchvision.datasets.folder import IMG_EXTENSIONS

from configs import UserError
from extract.sources.cub import cub_splits, is_cub
from extract.sources.files import FileSource
from extract.sources.image_tree import image_files
from extract.sources.source import ImageSource

SPLIT_NAMES = ("train", "val", "validation", "test")
EXTENSIONS = (*IMG_EXTENSIONS, ".gif", ".avif", ".jp2")


def folder_splits(root: Path) -> dict[str, Callable[[], ImageSource]]:
    """Split → its images: `train`, `val`, … inside `root`, or `root` itself as the only split."""
    if not root.is_dir():
        raise UserError(f"no folder at {root}")
    if is_cub(root):
        return cub_splits(root)
    found = {name: root / name for name in SPLIT_NAMES if (root / name).is_dir()}
    return {name: partial(FolderSource, path) for name, path in (found or {"train": root}).items()}


class FolderSource(FileSource):
    """`root/CLASS/**/image`: classes and files in sorted order."""

    def __init__(self, root: Path) -> None:
        classes = _classes(root)
        samples = [
            (path, number)
            for number, name in enumerate(classes)
            for path in image_files(root / name, EXTENSIONS)
        ]
        if not samples:
            raise UserError(f"{root} has no images ({', '.join(EXTENSIONS)}) in its class folders")
        below = (Path(name).relative_to(root).as_posix() for name, _ in samples)
        super().__init__(root, below, (label for _, label in samples), tuple(map(_utf8, classes)))


def _classes(root: Path) -> list[str]:
    """Folders in `root`, sorted; hidden ones are an editor's, no class."""
    try:
        found = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and entry.name[0] != ".")
    except OSError as error:
        raise UserError(f"cannot read {root} ({error.strerror})") from None
    if not found:
        raise UserError(f"{root} has no class folders: expected {root}/CLASS/image.jpg")
    return found


def _utf8(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(f"the class folder {name!r} has a name that is not UTF-8: rename it") from None
    return name

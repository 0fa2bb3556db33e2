"""The archive of Caltech-UCSD Birds-200-2011 as its authors ship it: class folders, and lists beside them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from configs import UserError
from extract.sources.classes import class_numbers, sorted_classes
from extract.sources.files import FileSource
from extract.sources.source import ImageSource

IMAGES, SPLITS = "images.txt", "train_test_split.txt"


def is_cub(root: Path) -> bool:
    """Whether `root` holds the lists of images and of the official split."""
    return (root / IMAGES).is_file() and (root / SPLITS).is_file()


def cub_splits(root: Path) -> dict[str, Callable[[], ImageSource]]:
    """The official split. `images.txt`: number and path; `train_test_split.txt`: number and 1 for train."""
    paths, trains = _pairs(root / IMAGES), _pairs(root / SPLITS)
    if paths.keys() != trains.keys():
        raise UserError(f"{root / IMAGES} and {SPLITS} list different images: unpack the archive again")
    classes = sorted_classes(path.partition("/")[0] for path in paths.values())
    sources = {}
    for split, mark in (("train", "1"), ("test", "0")):
        names = [path for image, path in paths.items() if trains[image] == mark]
        labels = class_numbers((name.partition("/")[0] for name in names), classes)
        sources[split] = FileSource(root / "images", names, labels, classes)
    return {split: partial(sources.__getitem__, split) for split in sources}


def _pairs(path: Path) -> dict[str, str]:
    """Two words a line."""
    lines = [line.split() for line in path.read_text().splitlines() if line.strip()]
    if not lines or any(len(words) != 2 for words in lines):
        raise UserError(f"{path} should have two words in each line: unpack the archive again")
    return dict(lines)

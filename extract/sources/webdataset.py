"""WebDataset: tar files in which a sample is an image beside its label, `0001.jpg` beside `0001.cls`."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import sys
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from PIL import Image

from configs import UserError
from extract.images import open_image
from extract.sources.classes import class_numbers, sorted_classes
from extract.sources.compact_names import CompactNames
from extract.sources.shard_files import shards_by_split
from extract.sources.source import ImageSource

IMAGES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm")
THREADS = 8
"""Reading headers waits for the disk more than it computes."""

_NAME = re.compile(r"((?:.*/)?[^./][^.]*)\.([^/]+)", re.DOTALL)
"""Key and extension: all up to the first dot of the last part, and all after it."""

_Place = tuple[int, int]
"""Offset and size of a member's bytes."""


@dataclass(frozen=True)
class _Shard:
    """One tar file's samples: keys, (n, 2) int64 offsets and sizes of the images, labels."""

    path: Path
    keys: list[str]
    places: np.ndarray
    labels: list[str]


def webdataset_splits(
    place: str, image_column: str | None, label_column: str | None
) -> dict[str, Callable[[], ImageSource]]:
    """Splits of the shards at `place`. All headers are read here, once; classes are those of all splits.

    `image_column`: the image's extension; without it, the one that is an image's. `label_column`: the label's
    extension, or its key in a sample's JSON; without it, `cls`, or `label` in the JSON. Raises `UserError`.
    """
    files = shards_by_split(place, ".tar")
    read = partial(_read_shard, image=image_column, label=label_column)
    with ThreadPoolExecutor(THREADS) as threads:
        shards = {split: list(threads.map(read, paths)) for split, paths in files.items()}
    found = itertools.chain.from_iterable(shards.values())
    classes = sorted_classes({label for shard in found for label in shard.labels})
    sources = {split: WebDatasetSource(own, classes) for split, own in shards.items()}
    return {split: partial(sources.__getitem__, split) for split in sources}


class WebDatasetSource(ImageSource):
    """Shards in order, samples in the order of the files; an image is read at its offset."""

    def __init__(self, shards: list[_Shard], classes: tuple[str, ...]) -> None:
        self.classes = classes
        self._paths = [shard.path for shard in shards]
        self._ends = np.cumsum([len(shard.keys) for shard in shards])
        self._keys = CompactNames(key for shard in shards for key in shard.keys)
        self._places = np.concatenate([shard.places for shard in shards])
        self._labels = class_numbers((label for shard in shards for label in shard.labels), classes)

    @property
    def labels(self) -> np.ndarray:
        return self._labels

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over every image's key, size and class, in order; not over where the files lie."""
        digest = hashlib.sha256()
        sizes = self._places[:, 1].tolist()
        for index, (size, label) in enumerate(zip(sizes, self._labels.tolist(), strict=True)):
            digest.update(os.fsencode(f"{self._keys[index]}\0{size}\0{label}\n"))
        return digest.hexdigest()

    def load(self, index: int) -> Image.Image:
        with self._path(index).open("rb") as file:
            return open_image(_content(file.fileno(), self._places[index].tolist()))

    def describe(self, index: int) -> str:
        return f"{self._path(index)}: {self._keys[index]}"

    def _path(self, index: int) -> Path:
        return self._paths[int(np.searchsorted(self._ends, index, side="right"))]


def _read_shard(path: Path, image: str | None, label: str | None) -> _Shard:
    samples: dict[str, dict[str, _Place]] = {}
    for name, place in _members(path):
        parts = _NAME.fullmatch(name)
        if parts is None:
            continue
        members = samples.setdefault(parts[1], {})
        if members.setdefault(parts[2].lower(), place) is not place:
            raise UserError(f"{path} holds {name} twice: a name may come only once in a shard")
    places: list[_Place] = []
    labels: list[str] = []
    keys: list[str] = []
    with path.open("rb") as file:
        for key, members in samples.items():
            found = _image(f"{path}: {key}", members, image)
            if found is not None:
                keys.append(key)
                places.append(found)
                labels.append(_label(f"{path}: {key}", file.fileno(), members, label))
    if not keys:
        raise UserError(f"{path} has no images ({image or ', '.join(IMAGES)})")
    return _Shard(path, keys, np.array(places, dtype=np.int64), labels)


def _members(path: Path) -> Iterator[tuple[str, _Place]]:
    """Name and place of every file in a tar."""
    try:
        with tarfile.open(path, "r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # tarfile would keep them all
                if member.isreg():
                    yield member.name, (member.offset_data, member.size)
    except (tarfile.TarError, OSError) as error:
        raise UserError(
            f"cannot read {path} ({error}): shards must be whole tar files, without compression"
        ) from None


def _image(sample: str, members: dict[str, _Place], extension: str | None) -> _Place | None:
    """The image's place; None for members that belong to no image."""
    found = [name for name in members if name == extension or (extension is None and name in IMAGES)]
    if len(found) > 1:
        raise UserError(f"{sample} has {' and '.join(found)}: say which is the image with --image-column")
    return members[found[0]] if found else None


def _label(sample: str, file: int, members: dict[str, _Place], name: str | None) -> str:
    """Interned: a class has one string, however many images."""
    extension = name or "cls"
    if extension in members:
        value: object = _content(file, members[extension]).decode(errors="replace").strip()
    elif "json" in members:
        value = _json_value(sample, _content(file, members["json"]), name or "label")
    else:
        value = None
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        what = f"no {name}" if name else "neither .cls nor label in .json"
        raise UserError(f"{sample} has no label ({what}): name its extension or JSON key with --label-column")
    return sys.intern(str(value))


def _json_value(sample: str, text: bytes, key: str) -> object:
    try:
        return json.loads(text).get(key)
    except (ValueError, AttributeError):
        raise UserError(f"{sample}.json is not a JSON object") from None


def _content(file: int, place: _Place) -> bytes:
    offset, size = place
    content = os.pread(file, size, offset)
    if len(content) < size:
        raise ValueError("the shard has become shorter")
    return content

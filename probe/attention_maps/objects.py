"""Where the objects of images are: boxes or masks as shipped, as masks of what the backbone saw."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias
from xml.etree import ElementTree

import numpy as np
from PIL import Image, ImageDraw

from configs import UserError
from extract.transform import image_transform

Box: TypeAlias = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the image as it is shown: left, top, right, bottom, the last two not inside."""

CUB_BOXES, CUB_IMAGES = "bounding_boxes.txt", "images.txt"
CORNERS = ("x0", "y0", "x1", "y1")


Shape: TypeAlias = Box | Path
"""A box, or the file of a mask of the image's size: the object is where it is not 0."""


@dataclass(frozen=True)
class Objects:
    """Shapes in images, by sample_id or by the end of the image's path."""

    shapes: Mapping[int | str, Sequence[Shape]]
    by_path: bool

    def of(self, sample: int, path: str) -> Sequence[Shape]:
        """The shapes in one image; none where nothing is known of it. `path`: how its source names it."""
        if not self.by_path:
            return self.shapes.get(sample, ())
        parts = PurePosixPath(path).with_suffix("").parts
        ends = ("/".join(parts[-length:]) for length in range(1, len(parts) + 1))
        return next((self.shapes[end] for end in ends if end in self.shapes), ())


def read_objects(place: Path) -> Objects:
    """What is in `place`: CUB-200-2011's folder, one of ImageNet's XML files, one of masks, or a CSV file.

    Masks are PNG files that are called as the images are. The CSV's columns are sample_id or path, and x0,
    y0, x1, y1. Raises `UserError` for anything else.
    """
    if (place / CUB_BOXES).is_file():
        return Objects(_cub(place), by_path=True)
    if place.is_dir():
        if files := sorted(place.rglob("*.xml")):
            return Objects({file.stem: _annotation(file) for file in files}, by_path=True)
        if files := sorted(place.rglob("*.png")):
            return Objects({_stem(str(file.relative_to(place))): [file] for file in files}, by_path=True)
        raise UserError(
            f"--boxes {place}: a folder holds {CUB_BOXES} (CUB), XML files (ImageNet) or masks (PNG files)"
        )
    if not place.is_file():
        raise UserError(f"--boxes {place}: there is no such file or folder")
    return _table(place)


def object_mask(shapes: Iterable[Shape], size: tuple[int, int], settings: dict[str, object]) -> np.ndarray:
    """(H, W) bool: which pixels of the transformed picture are in a shape; `size` is the image's (w, h).

    The shapes are drawn and go through the backbone's own transform, so that they lie as the image does.
    """
    drawn = Image.new("L", size)
    pen = ImageDraw.Draw(drawn)
    for shape in shapes:
        if isinstance(shape, Path):
            drawn.paste(255, mask=_mask(shape, size))
            continue
        x0, y0, x1, y1 = shape
        if round(x1) > round(x0) and round(y1) > round(y0):
            pen.rectangle((round(x0), round(y0), round(x1) - 1, round(y1) - 1), fill=255)
    seen: np.ndarray = image_transform(settings)(drawn.convert("RGB"))[0] >= 128
    return seen


def _mask(file: Path, size: tuple[int, int]) -> Image.Image:
    try:
        with Image.open(file) as opened:
            values = np.asarray(opened)  # of a palette, its indices
    except (OSError, Image.DecompressionBombError):
        raise UserError(f"--boxes: {file} is no image that can be read") from None
    inside = values.any(axis=2) if values.ndim == 3 else values != 0
    if inside.shape != size[::-1]:
        found = f"{inside.shape[1]} × {inside.shape[0]}"
        raise UserError(f"--boxes: the mask {file} is {found}, its image {size[0]} × {size[1]}")
    return Image.fromarray(inside)


def _stem(path: str) -> str:
    return PurePosixPath(path.replace("\\", "/")).with_suffix("").as_posix()


def _cub(root: Path) -> dict[int | str, Sequence[Shape]]:
    """`bounding_boxes.txt`: number, x, y, width, height; `images.txt`: number and path."""
    try:
        names = dict(line.split() for line in (root / CUB_IMAGES).read_text().splitlines() if line.strip())
        found: dict[int | str, Sequence[Shape]] = {}
        for line in (root / CUB_BOXES).read_text().splitlines():
            number, *rest = line.split()
            x, y, width, height = map(_number, rest)
            found[_stem(names[number])] = [(x, y, x + width, y + height)]
    except (OSError, ValueError, KeyError):
        raise UserError(
            f"--boxes {root}: {CUB_BOXES} and {CUB_IMAGES} do not fit: unpack the archive again"
        ) from None
    return found


def _annotation(file: Path) -> list[Box]:
    """The boxes of a Pascal VOC file, as ImageNet ships them: corners from 0 on, the last ones inside."""
    try:
        boxes = [
            tuple(_number(box.findtext(name) or "") for name in ("xmin", "ymin", "xmax", "ymax"))
            for box in ElementTree.parse(file).getroot().iter("bndbox")
        ]
    except (OSError, ValueError, ElementTree.ParseError):
        raise UserError(f"--boxes: {file} is no annotation with bndbox, xmin, ymin, xmax and ymax") from None
    return [(x0, y0, x1 + 1, y1 + 1) for x0, y0, x1, y1 in boxes]


def _table(file: Path) -> Objects:
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            reader = csv.DictReader(lines)
            columns = set(reader.fieldnames or ())
            key = next((name for name in ("sample_id", "path") if name in columns), None)
            if key is None or not set(CORNERS) <= columns:
                raise UserError(
                    f"--boxes {file}: the first line names the columns: sample_id or path, then x0,y0,x1,y1"
                )
            boxes: dict[int | str, list[Box]] = {}
            for row in reader:
                boxes.setdefault(_key(key, row[key]), []).append(_corners(row))
    except (OSError, UnicodeDecodeError):
        raise UserError(f"--boxes {file}: no readable CSV file (UTF-8)") from None
    except (ValueError, TypeError, csv.Error):
        raise UserError(
            f"--boxes {file}, line {reader.line_num}: a sample_id or a corner is no number"
        ) from None
    return Objects(boxes, by_path=key == "path")


def _key(column: str, value: str) -> int | str:
    return int(value) if column == "sample_id" else _stem(value)


def _corners(row: Mapping[str, str]) -> Box:
    x0, y0, x1, y1 = (_number(row[name]) for name in CORNERS)
    return x0, y0, x1, y1


def _number(text: str) -> float:
    """A finite one. Raises `ValueError`."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number

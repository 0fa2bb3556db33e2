"""Images listed in a CSV file: a path, a label and perhaps a split in each line."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from configs import UserError
from extract.sources.classes import class_numbers, sorted_classes
from extract.sources.files import FileSource
from extract.sources.folder import SPLIT_NAMES
from extract.sources.source import ImageSource

PATH_COLUMNS = ("path", "file_name", "filename", "file", "filepath", "image", "image_path")
LABEL_COLUMNS = ("label", "class", "target", "category", "class_name")
SPLIT_COLUMN = "split"


@dataclass(frozen=True)
class _Row:
    path: str
    label: str
    split: str


def csv_splits(
    place: Path, image_column: str | None, label_column: str | None
) -> dict[str, Callable[[], ImageSource]]:
    """Splits of a file, by its column `split`, or of a folder's `train.csv`, `val.csv`, …

    A first line that names the columns is a header; without one they are path, label and perhaps split.
    Paths are relative to the file. Raises `UserError` that names file and line.
    """
    rows = [row for file in _files(place) for row in _Table(file, image_column, label_column).rows()]
    if not rows:
        raise UserError(f"{place} lists no images")
    classes = sorted_classes(row.label for row in rows)
    root = place if place.is_dir() else place.parent
    sources = {}
    for split in dict.fromkeys(row.split for row in rows):
        own = [row for row in rows if row.split == split]
        labels = class_numbers((row.label for row in own), classes)
        sources[split] = FileSource(root, (row.path for row in own), labels, classes)
    return {split: partial(sources.__getitem__, split) for split in sources}


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise UserError(f"no CSV file at {place}")
    found = [place / f"{name}.csv" for name in SPLIT_NAMES if (place / f"{name}.csv").is_file()]
    if not found:
        raise UserError(f"{place} has none of {', '.join(f'{name}.csv' for name in SPLIT_NAMES)}")
    return found


class _Table:
    """One file, and which of its columns hold what."""

    def __init__(self, file: Path, image_column: str | None, label_column: str | None) -> None:
        self.file = file
        self._image = (image_column,) if image_column else PATH_COLUMNS
        self._label = (label_column,) if label_column else LABEL_COLUMNS
        self._named = bool(image_column or label_column)
        self._split = file.stem if file.stem in SPLIT_NAMES else "train"

    def rows(self) -> Iterator[_Row]:
        try:
            with self.file.open(encoding="utf-8-sig", newline="") as opened:
                yield from self._rows(csv.reader(opened))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"cannot read {self.file}: {error}") from None

    def _rows(self, lines: Iterator[list[str]]) -> Iterator[_Row]:
        places: dict[str, int] | None = None
        width = 0
        for number, words in enumerate(lines, 1):
            if not any(words):
                continue
            if places is None:
                width = len(words)
                places = self._header(words)
                if places is not None:
                    continue
                places = self._headless(words)
            if len(words) != width:
                raise UserError(f"{self._at(number)} has {len(words)} columns, the first {width}")
            yield self._row(number, {what: words[place].strip() for what, place in places.items()})

    def _row(self, number: int, cells: dict[str, str]) -> _Row:
        for what, cell in cells.items():
            if not cell:
                raise UserError(f"{self._at(number)} has no {what}")
        split = cells.get("split", self._split)
        if split in (".", "..") or "/" in split or not split.isprintable():
            raise UserError(f"{self._at(number)} names the split {split!r}: it is to name a folder")
        return _Row(cells["path"], cells["label"], split)

    def _at(self, number: int) -> str:
        return f"line {number} of {self.file}"

    def _header(self, words: list[str]) -> dict[str, int] | None:
        """Column of each thing, or None where the line is no header."""
        columns = {word.strip(): place for place, word in enumerate(words)}
        path = next((columns[name] for name in self._image if name in columns), None)
        label = next((columns[name] for name in self._label if name in columns), None)
        if path is not None and label is not None:
            places = {"path": path, "label": label}
            return places | ({"split": columns[SPLIT_COLUMN]} if SPLIT_COLUMN in columns else {})
        if self._named or len(words) not in (2, 3):
            raise UserError(
                f"{self.file} has the columns {', '.join(columns)}: name those of the path and the label "
                "with --image-column and --label-column"
            )
        return None

    def _headless(self, words: list[str]) -> dict[str, int]:
        if not (self.file.parent / words[0].strip()).is_file():
            raise UserError(
                f"there is no file {words[0].strip()} beside {self.file}, as its first line says; if that is "
                "a header, name the columns with --image-column and --label-column"
            )
        return {"path": 0, "label": 1} | ({"split": 2} if len(words) == 3 else {})

"""Parquet files in the layout of the Hugging Face Hub: a column of images, a column of labels."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from configs import UserError
from extract.images import open_image
from extract.sources.classes import class_numbers, sorted_classes
from extract.sources.shard_files import shards_by_split
from extract.sources.source import ImageSource

KEPT_BYTES = 64 * 2**20
"""Decoded row groups that a data worker keeps for the next images; the last one whatever its size."""


@dataclass(frozen=True)
class _Table:
    """One split's files."""

    files: list[Path]
    image: str
    """The column of the images."""
    names: tuple[str, ...] | None
    """Class names, where the files state them."""
    labels: np.ndarray
    """(n,) every row's label as it is stored: a number or text."""
    groups: np.ndarray
    """(g, 4) int64 of every row group: file, number in it, rows, stored bytes of the images."""


def parquet_splits(
    place: str, image_column: str | None, label_column: str | None
) -> dict[str, Callable[[], ImageSource]]:
    """Splits of the files at `place`. Labels are read here, images when they are asked for.

    Classes are those that the files state, or else the labels of all splits. Raises `UserError`.
    """
    found = shards_by_split(place, ".parquet")
    tables = {split: _read_split(files, image_column, label_column) for split, files in found.items()}
    stated = {table.names for table in tables.values()}
    if len(stated) > 1:
        raise UserError(f"the splits of {place} state different classes")
    classes = stated.pop() or sorted_classes({v for t in tables.values() for v in np.unique(t.labels)})
    sources = {split: ParquetSource(table, classes) for split, table in tables.items()}
    return {split: partial(sources.__getitem__, split) for split in sources}


class ParquetSource(ImageSource):
    """Rows in the order of the files.

    Parquet has no way to a single row: reading an image reads its row group. With groups of 100 JPEGs of
    107 KB that adds 40 % to decoding and resizing, with groups of 1,000 it takes 3.6 times as long;
    `hf:FOLDER`, which makes an uncompressed copy first, is faster then.
    """

    def __init__(self, table: _Table, classes: tuple[str, ...]) -> None:
        self.classes = classes
        self._files = table.files
        self._image = table.image
        self._groups = table.groups
        self._ends = np.cumsum(table.groups[:, 2])
        self._labels = table.labels if table.names else class_numbers(table.labels, classes)
        self._kept: OrderedDict[int, pa.ChunkedArray] = OrderedDict()
        self._opened: dict[int, pq.ParquetFile] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": OrderedDict(), "_opened": {}}

    @property
    def labels(self) -> np.ndarray:
        return self._labels

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the labels in order, and rows and stored bytes of every group of images."""
        return hashlib.sha256(self._labels.tobytes() + self._groups[:, 2:].tobytes()).hexdigest()

    def load(self, index: int) -> Image.Image:
        group, row = self._place(index)
        stored = self._images(group)[row].as_py()
        if isinstance(stored, dict):
            path, stored = stored.get("path"), stored.get("bytes")
            if stored is None and path:
                return open_image(self._file(group).parent / path)
        if not isinstance(stored, bytes):
            raise ValueError("the row holds no image")
        return open_image(stored)

    def describe(self, index: int) -> str:
        group, row = self._place(index)
        before = self._groups[:group]
        before = before[before[:, 0] == self._groups[group, 0]]
        return f"{self._file(group)}: row {row + int(before[:, 2].sum())}"

    def _place(self, index: int) -> tuple[int, int]:
        """Row group, of all files, and row in it."""
        group = int(np.searchsorted(self._ends, index, side="right"))
        return group, index - int(self._ends[group] - self._groups[group, 2])

    def _file(self, group: int) -> Path:
        return self._files[int(self._groups[group, 0])]

    def _images(self, group: int) -> pa.ChunkedArray:
        """(rows,) a group's images, undecoded."""
        if group in self._kept:
            self._kept.move_to_end(group)
            return self._kept[group]
        file, number = self._groups[group, :2].tolist()
        if file not in self._opened:
            self._opened[file] = pq.ParquetFile(self._files[file], memory_map=True)
        # data workers are many already: no threads in each
        rows = self._opened[file].read_row_group(number, columns=[self._image], use_threads=False)
        self._kept[group] = rows.column(0)
        while len(self._kept) > 1 and sum(kept.nbytes for kept in self._kept.values()) > KEPT_BYTES:
            self._kept.popitem(last=False)
        return self._kept[group]


def _read_split(files: list[Path], image_column: str | None, label_column: str | None) -> _Table:
    first = files[0]
    schema = _guarded(first, lambda: pq.read_schema(first))
    features = _features(schema)
    image = _column(first, schema, image_column or _only(schema, features, "Image", _holds_images), "image")
    label = label_column or ("label" if "label" in schema.names else None)
    label = _column(first, schema, label or _only(schema, features, "ClassLabel", None), "label")
    read = [_guarded(file, partial(_read_file, file, image, label)) for file in files]
    labels = np.concatenate([labels for labels, _ in read])
    groups = [(number, *group) for number, (_, found) in enumerate(read) for group in found]
    if not len(labels):
        raise UserError(f"{first.parent} holds no rows")
    names = features.get(label, {}).get("names")
    if names is not None and (labels.min() < 0 or labels.max() >= len(names)):
        outside = f"numbers outside its {len(names)} classes"
        raise UserError(f"{first} has no labels: column '{label}' holds {outside}")
    return _Table(files, image, tuple(names) if names else None, labels, np.array(groups, dtype=np.int64))


def _guarded(file: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"cannot read {file} ({reason}): is it a whole Parquet file?") from None


def _features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """What `datasets` says of the columns; nothing in files that others have made."""
    stated = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = stated.get("info", {}).get("features", {})
    return {name: feature for name, feature in features.items() if isinstance(feature, dict)}


def _only(
    schema: pa.Schema,
    features: dict[str, dict[str, Any]],
    kind: str,
    fits: Callable[[pa.DataType], bool] | None,
) -> str | None:
    """The only column of a kind, by what `datasets` says or else by its type."""
    found = [name for name in schema.names if features.get(name, {}).get("_type") == kind]
    if not found and fits is not None:
        found = [field.name for field in schema if fits(field.type)]
    return found[0] if len(found) == 1 else None


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _column(file: Path, schema: pa.Schema, name: str | None, what: str) -> str:
    if name is None or name not in schema.names:
        said = f"no column '{name}'" if name else f"no column that is clearly the {what}"
        raise UserError(f"{file} has {said} (it has {', '.join(schema.names)}): name it with --{what}-column")
    return name


def _read_file(file: Path, image: str, label: str) -> tuple[np.ndarray, list[tuple[int, int, int]]]:
    """Labels, and of every row group: its number, rows and stored bytes of the images."""
    with pq.ParquetFile(file) as opened:
        for name in (image, label):
            _column(file, opened.schema_arrow, name, "image" if name == image else "label")
        values = opened.read(columns=[label]).column(0)
        metadata = opened.metadata
        groups = [
            (number, metadata.row_group(number).num_rows, _stored_bytes(metadata.row_group(number), image))
            for number in range(metadata.num_row_groups)
        ]
    return _labels(f"{file} has no labels: column '{label}' holds", values), groups


def _labels(complaint: str, values: pa.ChunkedArray) -> np.ndarray:
    """(n,) int64 or text."""
    if values.null_count:
        raise UserError(f"{complaint} {values.null_count} empty cells")
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_integer(values.type):
        return np.asarray(values.to_numpy(), dtype=np.int64)
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return np.asarray(values.to_numpy())
    raise UserError(f"{complaint} {values.type}, neither whole numbers nor text")


def _stored_bytes(group: pq.RowGroupMetaData, image: str) -> int:
    columns = [group.column(place) for place in range(group.num_columns)]
    return sum(c.total_compressed_size for c in columns if c.path_in_schema.split(".")[0] == image)

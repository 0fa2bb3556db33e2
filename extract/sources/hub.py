"""Data sets of the Hugging Face Hub, or of a local folder that `datasets` can read."""

from __future__ import annotations

import hashlib
import io
from functools import cached_property
from typing import Any

import datasets
import numpy as np
import pyarrow.compute as pc
from PIL import Image

from configs import UserError
from extract.sources.source import ImageSource


def _explain(repository: str, error: Exception) -> UserError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return UserError(
        f"cannot load '{repository}' with datasets: {reason} "
        "(for a gated data set, accept its terms on the Hub and run `hf auth login`)"
    )


def hub_splits(repository: str, configuration: str | None) -> list[str]:
    """Names of the splits."""
    try:
        return list(datasets.get_dataset_split_names(repository, configuration))
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise _explain(repository, error) from None


class HubSource(ImageSource):
    """One split: images undecoded (they are decoded here, in the data workers), labels in memory."""

    def __init__(
        self,
        repository: str,
        configuration: str | None,
        split: str,
        image_column: str | None,
        label_column: str | None,
    ) -> None:
        try:
            rows = datasets.load_dataset(repository, configuration, split=split)
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            raise _explain(repository, error) from None
        self._name = f"{repository}/{split}"
        self._image = image_column or _only_column(rows, datasets.Image, "image")
        label = label_column or _label_column(rows)
        for column in (self._image, label):
            if column not in rows.column_names:
                raise UserError(
                    f"{self._name} has no column '{column}'; it has {', '.join(rows.column_names)}"
                )
        values = rows.with_format("numpy").select_columns([label])[:][label]
        self.classes, self._labels = _classes(rows.features[label], np.asarray(values))
        if (self._labels < 0).any():
            raise UserError(f"{self._name} has no labels (column '{label}' holds negative ones)")
        self._rows = rows.select_columns([self._image]).cast_column(self._image, datasets.Image(decode=False))

    @property
    def labels(self) -> np.ndarray:
        return self._labels

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the labels in order and the size of every encoded image."""
        images = self._rows.data.column(self._image)
        sizes = pc.fill_null(pc.binary_length(pc.struct_field(images, "bytes")), -1)
        digest = hashlib.sha256(self._labels.tobytes())
        digest.update(sizes.to_numpy().astype(np.int64).tobytes())
        return digest.hexdigest()

    def load(self, index: int) -> Image.Image:
        stored: dict[str, Any] = self._rows[index][self._image]
        if stored["bytes"] is not None:
            return Image.open(io.BytesIO(stored["bytes"]))
        return Image.open(stored["path"])

    def describe(self, index: int) -> str:
        return f"{self._name}[{index}]"


def _only_column(rows: datasets.Dataset, kind: type, word: str) -> str:
    columns = [name for name, feature in rows.features.items() if isinstance(feature, kind)]
    if len(columns) == 1:
        return str(columns[0])
    raise UserError(
        f"cannot tell which column holds the {word} (columns: {', '.join(rows.column_names)}): "
        f"name it with --{word}-column"
    )


def _label_column(rows: datasets.Dataset) -> str:
    if "label" in rows.column_names:
        return "label"
    return _only_column(rows, datasets.ClassLabel, "label")


def _classes(feature: Any, values: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Class names, and every row's class as int64."""
    if isinstance(feature, datasets.ClassLabel):
        return tuple(feature.names), values.astype(np.int64)
    found, labels = np.unique(values, return_inverse=True)
    return tuple(map(str, found)), labels.astype(np.int64)

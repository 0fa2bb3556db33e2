"""Data sets of the Hugging Face Hub, or of a local folder that `datasets` can read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.compute as pc
from PIL import Image

from configs import DatasetConfig, UserError
from extract.images import open_image
from extract.sources.source import ImageSource

LOGIN = "make a token at https://huggingface.co/settings/tokens, run `hf auth login` or set HF_TOKEN"


def hub_splits(
    config: DatasetConfig, image_column: str | None, label_column: str | None
) -> dict[str, Callable[[], ImageSource]]:
    """Splits of a repository on the Hub, or of a folder here."""
    repository, _, configuration = config.source.removeprefix("hf:").partition(":")
    with _explained(repository, config):
        names = datasets.get_dataset_split_names(repository, configuration or None)

    def opened(name: str) -> ImageSource:
        with _explained(repository, config):
            rows = datasets.load_dataset(repository, configuration or None, split=name)
        return HubSource(f"{repository}/{name}", rows, image_column, label_column)

    return {name: partial(opened, name) for name in names}


@contextmanager
def _explained(repository: str, config: DatasetConfig) -> Iterator[None]:
    """Errors of `datasets` in one line that says what to do."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"cannot load '{repository}' with datasets: {reason.removesuffix('.')} "
            f"({_remedy(repository, config, error)})"
        ) from None


def _remedy(repository: str, config: DatasetConfig, error: Exception) -> str:
    text = str(error)
    own = f"give images that are here already as --dataset {config.name}=folder:PATH"
    if "scripts are no longer supported" in text:
        return f"it is a program, which datasets does not run any more; {own}"
    if isinstance(error, datasets.exceptions.DatasetNotFoundError) and (config.gated or "gated" in text):
        page = f"https://huggingface.co/datasets/{repository}"
        return f"accept its terms on {page}, {LOGIN}, and give the same command again; or {own}"
    if isinstance(error, datasets.exceptions.DatasetNotFoundError):
        return f"check the name; if it is private, {LOGIN}"
    if isinstance(error, ConnectionError):
        return f"check the network; HF_HUB_OFFLINE=1 takes what was downloaded before; or {own}"
    return "check its name, its configuration (hf:OWNER/NAME:CONFIG) and its files"


class HubSource(ImageSource):
    """One split: images undecoded (they are decoded here, in the data workers), labels in memory."""

    def __init__(
        self, name: str, rows: datasets.Dataset, image_column: str | None, label_column: str | None
    ) -> None:
        self._name = name
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
        if stored["bytes"] is None and stored["path"] is None:
            raise ValueError("the row holds no image")
        return open_image(Path(stored["path"]) if stored["bytes"] is None else stored["bytes"])

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

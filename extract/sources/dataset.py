"""From what `--dataset` says to the splits of a data set."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from configs import DatasetConfig, UserError, load_dataset, names, unknown_name
from extract.sources.digits import DigitsSource
from extract.sources.folder import FolderSource, folder_splits
from extract.sources.source import ImageSource


@dataclass(frozen=True)
class Dataset:
    """A data set: its name in the store, where it comes from, and how to open each split."""

    name: str
    source: str
    num_classes: int | None
    splits: dict[str, Callable[[], ImageSource]]

    def open(self, split: str) -> ImageSource:
        """Open `split`. Raises `UserError` when there is none, or its classes are not as stated."""
        if split not in self.splits:
            raise unknown_name(f"split of {self.name}", split, self.splits)
        source = self.splits[split]()
        if self.num_classes not in (None, len(source.classes)):
            raise UserError(
                f"{self.name} should have {self.num_classes} classes; {split} has "
                f"{len(source.classes)}: is {self.source} the right data?"
            )
        return source


def open_dataset(spec: str, *, image_column: str | None = None, label_column: str | None = None) -> Dataset:
    """The data set that `spec` names: a name in configs/datasets, `folder:PATH` or `hf:OWNER/NAME`.

    `image_column` and `label_column` override what a `hf:` source would find by itself.
    Raises `UserError` with the nearest names.
    """
    if spec.startswith(("folder:", "hf:")):
        config = DatasetConfig(name=_name_of(spec), source=spec)
    elif spec in names("datasets"):
        config = load_dataset(spec)
    else:
        error = unknown_name("dataset", spec, names("datasets"))
        raise UserError(f"{error}, or give folder:PATH or hf:OWNER/NAME")
    found = _splits(config.source, image_column or config.image_column, label_column or config.label_column)
    renamed = config.splits or {name: name for name in found}
    splits = {ours: found[theirs] for ours, theirs in renamed.items() if theirs in found}
    return Dataset(config.name, config.source, config.num_classes, splits)


def _name_of(spec: str) -> str:
    """A folder name for a generic source: the last part of its path."""
    last = Path(spec.split(":")[1]).resolve().name
    return re.sub(r"[^\w.-]+", "_", last) or "dataset"


def _splits(
    source: str, image_column: str | None, label_column: str | None
) -> dict[str, Callable[[], ImageSource]]:
    kind, _, place = source.partition(":")
    if kind == "digits":
        return {name: partial(DigitsSource, name) for name in DigitsSource.splits}
    if kind == "folder":
        folders = folder_splits(Path(place).expanduser())
        return {name: partial(FolderSource, path) for name, path in folders.items()}
    from extract.sources.hub import HubSource, hub_splits  # half a second that others need not wait

    repository, _, configuration = place.partition(":")
    return {
        name: partial(HubSource, repository, configuration or None, name, image_column, label_column)
        for name in hub_splits(repository, configuration or None)
    }

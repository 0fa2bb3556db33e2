"""From what `--dataset` says to the splits of a data set."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from configs import DatasetConfig, UserError, load_dataset, names, unknown_name
from extract.sources.joined import JoinedSource
from extract.sources.source import ImageSource

Splits = Mapping[str, Callable[[], ImageSource]]

KINDS = ("folder", "hf", "parquet", "webdataset", "csv")
"""What may stand before a colon."""


@dataclass(frozen=True)
class Dataset:
    """A data set: its name in the store, where it comes from, and how to open each split."""

    name: str
    source: str
    num_classes: int | None
    splits: Splits

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
    """The data set that `spec` names.

    A name in configs/datasets; `KIND:PLACE` for one's own; or `NAME=KIND:PLACE` for a named one that lies
    elsewhere, with the splits that are found there. The columns override what is stated or found. Raises
    `UserError` with the nearest names.
    """
    config = _config(spec)
    found = _splits(config, image_column or config.image_column, label_column or config.label_column)
    wanted = config.splits or {name: name for name in found}
    splits = {ours: _split(config, found, theirs) for ours, theirs in wanted.items()}
    return Dataset(config.name, config.source, config.num_classes, splits)


def _config(spec: str) -> DatasetConfig:
    if spec.partition(":")[0] in KINDS:
        return DatasetConfig(name=_name_of(spec), source=spec)
    name, _, source = spec.partition("=")
    if name not in names("datasets"):
        kind, _, place = name.partition(":")
        unknown = ("kind of data set", kind, KINDS) if place else ("dataset", name, names("datasets"))
        error = unknown_name(*unknown)
        raise UserError(f"{error}, or give {', '.join(f'{kind}:…' for kind in KINDS)}")
    config = load_dataset(name)
    if not source:
        return config
    if source.partition(":")[0] not in KINDS:
        raise UserError(f"--dataset {spec}: after the = give {', '.join(f'{kind}:…' for kind in KINDS)}")
    own = {"source": source, "splits": dict[str, str](), "image_column": None, "label_column": None}
    return config.model_copy(update=own)


def _name_of(spec: str) -> str:
    """A folder name for one's own data: the last part of its place; of shards by a pattern, their folder."""
    kind, _, place = spec.partition(":")
    if kind == "hf":
        place = place.partition(":")[0]
    path = Path(place).resolve()
    if re.search(r"[{*]", path.name):
        path = path.parent
    last = path.stem if path.suffix in (".csv", ".parquet", ".tar") else path.name
    return re.sub(r"[^\w.-]+", "_", last) or "dataset"


def _split(config: DatasetConfig, found: Splits, theirs: str) -> Callable[[], ImageSource]:
    """How to open the split that the source calls `theirs`; `a+b` is both."""
    parts = theirs.split("+")
    for part in parts:
        if part not in found:
            raise unknown_name(f"split of {config.source}", part, found)
    if len(parts) == 1:
        return found[theirs]
    return partial(_joined, [found[part] for part in parts])


def _joined(parts: list[Callable[[], ImageSource]]) -> ImageSource:
    return JoinedSource([part() for part in parts])


def _splits(config: DatasetConfig, image_column: str | None, label_column: str | None) -> Splits:
    """What the source has. Modules are imported when they are needed: some take half a second."""
    kind, _, place = config.source.partition(":")
    if kind == "digits":
        from extract.sources.digits import DigitsSource

        return {name: partial(DigitsSource, name) for name in DigitsSource.splits}
    if kind == "hf":
        from extract.sources.hub import hub_splits

        return hub_splits(config, image_column, label_column)
    if "://" in place or place.startswith("pipe:"):
        raise UserError(f"{kind}: reads files on this machine: download {place} first")
    if kind == "folder":
        from extract.sources.folder import folder_splits

        root = Path(place).expanduser()
        if config.archive and not root.is_dir():
            own = f"{config.name}=folder:PATH"
            raise UserError(f"no folder at {root}: unpack {config.archive}, or give {own}")
        return folder_splits(root)
    if kind == "csv":
        from extract.sources.csv_table import csv_splits

        return csv_splits(Path(place).expanduser(), image_column, label_column)
    if kind == "parquet":
        from extract.sources.parquet import parquet_splits

        return parquet_splits(place, image_column, label_column)
    from extract.sources.webdataset import webdataset_splits

    return webdataset_splits(place, image_column, label_column)

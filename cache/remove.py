"""Removing a store, a data set of it or a split.

A store that is half removed must not look like a good one. So a split first loses the records of its shards:
from then on it is a split with shards missing, which nothing takes for whole and which the command that made
it completes. Manifests go last, so that the same removal can be given again. Nothing is renamed first: a
store may be a mount point, or stand in a folder that is not ours to write.

Only what belongs to a store goes. Links are not followed, and other files in its folder stay.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import tyro
from pydantic import Field, model_validator

from cache import atomic
from cache.final_norm import FINAL_NORM
from cache.lock import LOCK, WriterLock
from cache.manifest import MANIFEST, SplitManifest, StoreManifest, read_manifest
from cache.zarr_engine import METADATA
from configs import FrozenModel, UserError, optional

EXIT_DECLINED = 1


class RemoveOptions(FrozenModel):
    """Remove a store, or one data set or split of it, after asking.

    Examples:
      cache rm cache/mae_digits
      cache rm cache/mae_vitl --dataset imagenet --split train --yes
    """

    path: Annotated[Path, tyro.conf.Positional] = Field(description="the store")
    dataset: Annotated[str | None, optional("NAME")] = Field(
        default=None, description="only this data set; without it, the whole store"
    )
    split: Annotated[str | None, optional("NAME")] = Field(
        default=None, description="only this split of --dataset"
    )
    yes: bool = Field(default=False, description="do not ask")

    @model_validator(mode="after")
    def _split_of_a_data_set(self) -> Self:
        if self.split is not None and self.dataset is None:
            raise UserError("--split needs --dataset")
        return self


@dataclass(frozen=True)
class Removal:
    """What is to go: split folders, and the store around them if it is `whole`."""

    store: Path
    splits: tuple[Path, ...]
    whole: bool

    @property
    def name(self) -> str:
        """What goes, as a path: the store, or all that is removed of it."""
        return str(self.store) if self.whole else ", ".join(map(str, self.splits))


def remove(options: RemoveOptions) -> None:
    """`cache rm`: show what would go, ask, remove it. Raises `UserError` where that cannot be."""
    removal = _plan(options)
    sizes = {split: _bytes(split) for split in removal.splits}
    for split, size in sizes.items():
        print(f"{split}: {_records_in_words(split)}, {size / 1e6:,.1f} MB")
    with _failures_in_words(), ExitStack() as locks:
        for split in removal.splits:
            _keep_writers_out(split, locks)
        if not options.yes and not _agreed(removal):
            print("nothing was removed")
            raise SystemExit(EXIT_DECLINED)
        left = _remove(removal)
    others = f"; {', '.join(left)} stays there, which is no part of the store" if left else ""
    print(f"removed {removal.name} ({sum(sizes.values()) / 1e6:,.1f} MB){others}")


def _plan(options: RemoveOptions) -> Removal:
    if options.path.is_symlink():
        raise UserError(f"{options.path} is a link to {options.path.resolve()}: give that path itself")
    store = options.path.resolve()
    splits = _split_folders(store)
    if not (store / MANIFEST).is_file():
        raise UserError(f"no store at {options.path}, and rm removes nothing else")
    try:
        read_manifest(store / MANIFEST, StoreManifest)
    except UserError as error:
        if not splits:
            raise UserError(f"{options.path} is no store, and rm removes nothing else: {error}") from None
        if not options.yes:
            raise UserError(f"{error}; give --yes to remove it all the same") from None
        print(f"{error}; it is removed all the same")
    chosen = tuple(
        split
        for split in splits
        if options.dataset in (None, split.parent.name) and options.split in (None, split.name)
    )
    if options.dataset is not None and not chosen:
        held = ", ".join(f"{split.parent.name}/{split.name}" for split in splits) or "no split"
        wanted = options.dataset if options.split is None else f"{options.dataset}/{options.split}"
        raise UserError(f"{options.path} holds {held}, not {wanted}")
    removal = Removal(store, chosen, whole=options.dataset is None)
    _refuse_links(removal)
    return removal


def _split_folders(store: Path) -> list[Path]:
    """Folders of splits, those too whose manifest is lost or damaged: every writer leaves a lock file."""
    found = {path.parent for name in (MANIFEST, LOCK) for path in store.glob(f"*/*/{name}")}
    return sorted(folder for folder in found if (folder / LOCK).is_file() or _manifest(folder) is not None)


def _refuse_links(removal: Removal) -> None:
    for split in removal.splits:
        for path in (split.parent, split, *split.rglob("*")):
            if path.is_symlink():
                raise UserError(f"{path} is a link, and rm follows none: remove the link first")


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _manifest(split: Path) -> SplitManifest | None:
    try:
        return read_manifest(split / MANIFEST, SplitManifest)
    except UserError:
        return None


def _records_in_words(split: Path) -> str:
    manifest = _manifest(split)
    return "its manifest is missing or damaged" if manifest is None else f"{manifest.records:,} records"


def _keep_writers_out(split: Path, locks: ExitStack) -> None:
    """Hold the locks of the split and of each shard. Raises `UserError` while somebody writes."""
    lock = locks.enter_context(WriterLock(split))
    manifest = _manifest(split)
    for shard in range(0 if manifest is None else manifest.shards):
        lock.hold(shard)  # process 0 may have ended, and others still be writing


def _agreed(removal: Removal) -> bool:
    if not sys.stdin.isatty():
        raise UserError("there is no terminal to ask on: give --yes to remove without being asked")
    try:
        return input(f"remove {removal.name}? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


@contextmanager
def _failures_in_words() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot remove {error.filename}: {error.strerror}") from None


def _remove(removal: Removal) -> list[str]:
    """Remove it; names of what stays in the store's folder, where all of it was to go."""
    for split in removal.splits:
        _remove_split(split)
    datasets = {split.parent for split in removal.splits}
    if removal.whole:
        datasets |= {path for path in removal.store.iterdir() if path.is_dir() and not path.is_symlink()}
    for folder in datasets:
        _remove_folder(folder, (METADATA,))
    if removal.whole:
        _remove_files(removal.store, (METADATA, FINAL_NORM, MANIFEST, LOCK))
        return _remove_folder(removal.store, ())
    return []


def _remove_split(split: Path) -> None:
    shards = split / "shards"
    if shards.is_dir():
        for record in shards.glob("*.json"):
            record.unlink()
        atomic.flush(shards)
    for path in split.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in (MANIFEST, LOCK):
            path.unlink()
    _remove_folder(split, (MANIFEST, LOCK))


def _remove_folder(folder: Path, own: tuple[str, ...]) -> list[str]:
    """Remove a folder that holds no more than its `own` files; names of what it holds beside them."""
    others = sorted(path.name for path in folder.iterdir() if path.name not in own)
    if not others:
        _remove_files(folder, own)
        folder.rmdir()
    return others


def _remove_files(folder: Path, names: tuple[str, ...]) -> None:
    """Remove those of the files that are there, in this order, with what a killed writer left of them."""
    for path in (folder / name for name in names):
        atomic.temporary(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)

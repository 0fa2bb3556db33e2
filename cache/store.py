"""A store: one backbone's tokens of any number of data sets and splits."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from cache import atomic
from cache.final_norm import FinalNorm, load_final_norm
from cache.lock import LOCK, one_at_a_time
from cache.manifest import MANIFEST, SplitManifest, StoreManifest, claim_manifest, read_manifest
from cache.split_reader import SplitReader
from cache.split_writer import SplitWriter
from cache.write_errors import clear_when_unwritable
from configs import UserError


class Store:
    """A store that exists. Raises `UserError` where there is none."""

    def __init__(self, folder: Path) -> None:
        try:
            there = (folder / MANIFEST).is_file()
        except PermissionError as error:
            raise UserError(
                f"cannot read {folder} ({error.strerror}): you may not search it, or a folder above it"
            ) from None
        if not there:
            beside = sorted(path.parent.name for path in folder.parent.glob(f"*/{MANIFEST}"))
            found = f"; {folder.parent} holds {', '.join(beside)}" if beside else ""
            raise UserError(
                f"no store at {folder}{found}: make one with "
                f"`extract --backbone NAME --dataset NAME --out {folder}`"
            )
        self.folder = folder
        self.manifest = read_manifest(folder / MANIFEST, StoreManifest)

    @cached_property
    def final_norm(self) -> FinalNorm | None:
        """The backbone's last norm, or None when it has none. Raises `UserError` where it is damaged."""
        expected = self.manifest.backbone.final_norm
        return None if expected is None else load_final_norm(self.folder, expected)

    def splits(self) -> dict[str, list[str]]:
        """Data set → its splits, complete or not."""
        found: dict[str, list[str]] = {}
        for path in sorted(self.folder.glob(f"*/*/{MANIFEST}")):
            found.setdefault(path.parent.parent.name, []).append(path.parent.name)
        return found

    def dataset(self, name: str | None) -> str:
        """The data set `name`; without a name, the only one there is."""
        held = sorted(self.splits())
        if name is None and len(held) == 1:
            return held[0]
        if name in held:
            return str(name)
        asked = "say which with --dataset" if name is None else f"not '{name}'"
        raise UserError(f"{self.folder} holds {', '.join(held) or 'no data set yet'}: {asked}")

    def split(self, dataset: str, split: str) -> SplitReader:
        """Open one split."""
        held = self.splits().get(dataset, [])
        if split not in held:
            raise UserError(
                f"{self.folder} has no split '{split}' of {dataset}; it has {', '.join(held) or 'none'}"
            )
        return SplitReader(self.folder / dataset / split)


def create_store(folder: Path, manifest: StoreManifest, final_norm: FinalNorm | None = None) -> None:
    """Make the store, with the backbone's last norm, or make sure that `folder` is one of this very backbone
    and dtype.

    Raises `UserError` where it is another one, or cannot be written.
    """
    with clear_when_unwritable(folder):
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder} is a file: give another folder")
        others = [p for p in folder.glob("*") if p.suffix != atomic.TEMPORARY and p.name != LOCK]
        if others and not (folder / MANIFEST).exists():
            raise UserError(f"{folder} exists and is not a store: give another folder")
        with one_at_a_time(folder):
            claim_manifest(folder / MANIFEST, manifest, ignore=("versions", "licence", "tokens"))
            if final_norm is not None:
                final_norm.save(folder)


def open_split_writer(
    store: Path, manifest: SplitManifest, *, process: int = 0, processes: int = 1
) -> SplitWriter:
    """A writer for the split that `manifest` describes; `process` of `processes` that write together."""
    return SplitWriter(manifest.folder(store), manifest, process=process, processes=processes)

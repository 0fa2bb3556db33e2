"""Whether a disk can hold what is to be stored."""

from __future__ import annotations

import shutil
from pathlib import Path

from cache import SplitManifest, SplitReader
from configs import UserError
from extract.units import in_bytes


def existing_folder(path: Path) -> Path:
    """`path`, or the nearest folder above it that exists: the file system where it would stand."""
    folder = path.absolute()
    while not folder.is_dir():
        folder = folder.parent
    return folder


def free_bytes(path: Path) -> int:
    """What may still be written where `path` stands, or would stand."""
    return shutil.disk_usage(existing_folder(path)).free


def split_bytes(manifest: SplitManifest) -> int:
    """Bytes of all records of a split."""
    return manifest.records * _record_bytes(manifest)


def stored_bytes(split: Path) -> int:
    """Bytes of the records that the split in this folder holds in whole shards; 0 where there is none."""
    if not (split / "manifest.json").exists():
        return 0
    reader = SplitReader(split)
    records = sum(map(reader.manifest.shard_records, reader.stored_shards()))
    return records * _record_bytes(reader.manifest)


def _record_bytes(manifest: SplitManifest) -> int:
    """Bytes of one record in all arrays."""
    return sum(array.record_bytes * array.runs for array in manifest.arrays)


def require_space(store: Path, missing: int, free: int) -> None:
    """Raise `UserError` where `missing` bytes are more than what is `free`."""
    if missing > free:
        raise UserError(
            f"{store} needs {in_bytes(missing)} more, and {in_bytes(free)} are free there: choose another "
            "--out, --dtype int8 or fewer --blocks, or --force"
        )

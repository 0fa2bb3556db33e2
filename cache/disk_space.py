"""Whether a disk can hold what is to be stored."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from cache.manifest import SplitManifest
from cache.shard_record import shard_record_path
from configs import UserError, in_bytes

# os.path answers where Path, before Python 3.14, raises: below a folder that this user may not look into


def existing_folder(path: Path) -> Path:
    """`path`, or the nearest folder above it that exists: the file system where it would stand."""
    folder = path.absolute()
    while not os.path.isdir(folder):
        folder = folder.parent
    return folder


def free_bytes(path: Path) -> int:
    """What may still be written where `path` stands, or would stand."""
    return shutil.disk_usage(existing_folder(path)).free


def missing_bytes(store: Path, manifest: SplitManifest) -> int:
    """Bytes of the split's records that `store` does not hold in whole shards yet."""
    folder = manifest.folder(store)
    shards = (
        shard for shard in range(manifest.shards) if not os.path.exists(shard_record_path(folder, shard))
    )
    return manifest.record_bytes * sum(map(manifest.shard_records, shards))


def require_space(store: Path, missing: int, free: int, advice: str) -> None:
    """Raise `UserError`, with `advice`, where `missing` bytes are more than what is `free`."""
    if missing > free:
        raise UserError(
            f"{store} needs {in_bytes(missing)} more, and {in_bytes(free)} are free there: {advice}"
        )

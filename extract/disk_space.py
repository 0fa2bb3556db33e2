"""Whether a disk can hold what is to be extracted."""

from __future__ import annotations

import os
from pathlib import Path

from cache import SplitReader, disk_space, missing_bytes
from cache.disk_space import existing_folder, free_bytes
from extract.options import TokenOptions

__all__ = ["existing_folder", "free_bytes", "require_space", "stored_bytes"]


def stored_bytes(split: Path) -> int:
    """Bytes of the records that the split in this folder holds in whole shards; 0 where there is none."""
    if not os.path.exists(split / "manifest.json"):
        return 0
    manifest = SplitReader(split).manifest
    return manifest.records * manifest.record_bytes - missing_bytes(split.parent.parent, manifest)


def require_space(store: Path, missing: int, free: int, options: TokenOptions) -> None:
    """Raise `UserError`, with what to do, where `missing` bytes are more than what is `free`."""
    less = [] if options.dtype == "int8" else ["--dtype int8"]
    less += ["fewer --views"] if options.views > 1 else []
    advice = f"choose another --out, {' or '.join([*less, 'fewer --blocks'])}, or --force"
    disk_space.require_space(store, missing, free, advice)

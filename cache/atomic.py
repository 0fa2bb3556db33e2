"""Files that are whole or absent, whatever kills the process."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

TEMPORARY = ".tmp"
"""Suffix of a file that is not whole yet."""


def temporary(path: Path) -> Path:
    """Where `path` is written before it is renamed."""
    return path.with_name(path.name + TEMPORARY)


def published(path: Path) -> Path:
    """The name that the temporary file `path` gets."""
    return path.with_name(path.name.removesuffix(TEMPORARY))


def flush(path: Path) -> None:
    """Make a file's bytes, or the renames inside a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(*paths: Path) -> None:
    """Give finished temporary files their names: flush all, rename all.

    Flushes wait for the disk, side by side: a journal commits what comes together at once.
    """
    with ThreadPoolExecutor(max_workers=len(paths)) as threads:
        list(threads.map(flush, map(temporary, paths)))
        for path in paths:
            temporary(path).replace(path)
        list(threads.map(flush, {path.parent for path in paths}))


def write_bytes(path: Path, content: bytes) -> None:
    """Write `path` whole: temporary name, flush, rename. Nothing happens where it says so already."""
    if path.is_file() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary(path).write_bytes(content)
    publish(path)


def as_json(value: Any) -> bytes:
    """`value` as JSON for people to read; the same value gives the same bytes."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()

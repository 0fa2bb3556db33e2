"""Files that are whole or absent, whatever kills the process."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

TEMPORARY = ".tmp"
"""Suffix of a file that is not whole yet."""


def temporary(path: Path) -> Path:
    """Where `path` is written before it is renamed."""
    return path.with_name(path.name + TEMPORARY)


def flush_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `path` whole: temporary name, flush, rename. Nothing happens where it says so already."""
    if path.is_file() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary(path).open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary(path).replace(path)
    flush_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, whole; the same value gives the same bytes."""
    write_bytes(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())

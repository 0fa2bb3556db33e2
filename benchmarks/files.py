"""Folders that do not outlive the run, flushing, and emptying the page cache."""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from configs import UserError

EXIT_TERMINATED = 143


@contextmanager
def scratch(folder: Path, needed: int) -> Iterator[Path]:
    """A new folder that is removed at the end, whatever ends it.

    Raises `UserError` where it exists, or where its disk has fewer than `needed` bytes free.
    """
    if folder.exists():
        raise UserError(f"{folder} exists: name a --folder that does not, it is made and removed")
    if not folder.parent.is_dir():
        raise UserError(f"{folder.parent} is no folder: name a --folder inside one that exists")
    free = shutil.disk_usage(folder.parent).free
    if free < needed:
        raise UserError(
            f"{folder.parent} has {free / 1e9:.1f} GB free, the run needs {needed / 1e9:.1f}: "
            "name a --folder on another disk"
        )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def empty(folder: Path) -> None:
    """Make `folder` new and empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def empty_and_settle(folder: Path) -> None:
    """Make `folder` new and empty, and let the disk finish what it still has to do."""
    empty(folder)
    os.sync()


def files_in(folder: Path) -> list[Path]:
    """Every file below `folder`, in the order of their names."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def flush(folder: Path) -> None:
    """fsync every file below `folder`, for libraries that do not."""
    for path in files_in(folder):
        file = os.open(path, os.O_RDONLY)
        os.fsync(file)
        os.close(file)


def drop_from_cache(folder: Path) -> None:
    """Ask the system to forget the (flushed) files below `folder`. Pages that are mapped stay."""
    for path in files_in(folder):
        file = os.open(path, os.O_RDONLY)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def cached_share(folder: Path) -> float:
    """Which share of the pages of the files below `folder` is in the page cache (Linux)."""
    held = total = 0
    for path in files_in(folder):
        if path.stat().st_size:
            pages = _pages_in_memory(path)
            held, total = held + int(pages.sum()), total + len(pages)
    return held / max(total, 1)


def _pages_in_memory(path: Path) -> np.ndarray:
    """mincore(2): (pages,) of 0 and 1."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        view = np.frombuffer(mapped, dtype=np.uint8)
        pages = np.zeros(-(-len(view) // mmap.PAGESIZE), dtype=np.uint8)
        libc = ctypes.CDLL(None, use_errno=True)
        failed = libc.mincore(
            ctypes.c_void_p(view.ctypes.data), ctypes.c_size_t(len(view)), ctypes.c_void_p(pages.ctypes.data)
        )
        del view
    if failed:
        raise OSError(ctypes.get_errno(), "mincore")
    return pages & 1


def can_be_cold(folder: Path) -> bool:
    """Whether the system forgets files when asked; a file system in memory does not."""
    if sys.platform != "linux":
        return False
    probe = folder / "probe"
    probe.write_bytes(bytes(16 * mmap.PAGESIZE))
    flush(folder)
    drop_from_cache(folder)
    share = cached_share(folder)
    probe.unlink()
    return share == 0

"""One writer at a time."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from configs import UserError

LOCK = ".lock"

FIRST_SHARD_BYTE = 1 << 20
"""Bytes below are processes' numbers."""


@contextmanager
def one_at_a_time(store: Path) -> Iterator[None]:
    """Wait until no other process is in such a block: independent runs may begin a store at once.

    Raises `UserError` where the file system has no locks.
    """
    store.mkdir(parents=True, exist_ok=True)
    path = store / LOCK
    with path.open("a") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX)
        except OSError as error:
            raise _cannot_lock(path, error) from None
        yield


def _cannot_lock(path: Path, error: OSError) -> UserError:
    return UserError(f"cannot lock {path}: {os.strerror(error.errno or 0)}")


class WriterLock:
    """An exclusive lock on a folder, held by this process and by nothing that outlives it.

    POSIX record locks belong to the process, so the kernel drops them when it dies, however it dies;
    `flock` would live on in forked data workers. They do not tell two writers in one process apart.

    Processes that write together each lock the byte of their number, and `hold` a byte for each shard
    they begin: a second run collides with the first one's process 0 or, where that has ended, with
    the shards that others still write. The file holds process 0's id, for the message only, and is
    empty when nobody writes.
    """

    def __init__(self, folder: Path, process: int = 0) -> None:
        self.path = folder / LOCK
        self._process = process

    def __enter__(self) -> WriterLock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a+")
        try:
            self._lock(self._process)
        except BaseException:
            self._file.close()
            raise
        if self._process == 0:
            self._file.truncate(0)
            self._file.write(str(os.getpid()))
            self._file.flush()
        return self

    def hold(self, shard: int) -> None:
        """Keep other runs from `shard`. Raises `UserError` where one is at it."""
        self._lock(FIRST_SHARD_BYTE + shard)

    def _lock(self, byte: int) -> None:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except OSError as error:
            folder = self.path.parent
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise _cannot_lock(self.path, error) from None
            self._file.seek(0)
            owner = self._file.read().strip() or "of another run"
            raise UserError(
                f"{folder} is being written by process {owner}: wait for it, or stop it; "
                "the same command then goes on where it stopped"
            ) from None

    def __exit__(self, *error: object) -> None:
        if self._process == 0:
            self._file.truncate(0)
        self._file.close()

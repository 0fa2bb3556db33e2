"""One writer at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from configs import UserError


class WriterLock:
    """An exclusive lock on a folder, held by this process and by nothing that outlives it.

    POSIX record locks belong to the process, so the kernel drops them when it dies, however it dies;
    `flock` would live on in forked data workers. Processes that write together each lock the byte of
    their number, so a second run collides with the first one's process 0. The file holds that
    process's id, for the message only, and is empty when nobody writes.
    """

    def __init__(self, folder: Path, process: int = 0) -> None:
        self.path = folder / ".lock"
        self._process = process

    def __enter__(self) -> WriterLock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a+")
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._process)
        except OSError:
            self._file.seek(0)
            owner = self._file.read().strip()
            self._file.close()
            raise UserError(
                f"{self.path.parent} is being written by process {owner or 'unknown'}: "
                "wait for it, or stop it; the same command then goes on where it stopped"
            ) from None
        if self._process == 0:
            self._file.truncate(0)
            self._file.write(str(os.getpid()))
            self._file.flush()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process == 0:
            self._file.truncate(0)
        self._file.close()

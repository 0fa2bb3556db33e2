"""What a user reads when writing a store stops."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from configs import UserError

INTERRUPTED = "interrupted: whole shards are kept, the same command goes on from there"
"""Said after Ctrl-C."""

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}


@contextmanager
def clear_when_unwritable(folder: Path) -> Iterator[None]:
    """Turn "no space left", or a folder that cannot be written, into a `UserError` that says what to do."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        number = _error_number(error)
        if number in _NO_SPACE:
            raise UserError(
                f"no space left for {folder} ({os.strerror(number)}): free some and run the same command "
                "again; it keeps every whole shard and goes on from there"
            ) from None
        if number in _NOT_WRITABLE:
            raise UserError(
                f"cannot write {folder} ({os.strerror(number)}): give a folder that you may write to"
            ) from None
        raise


def _error_number(error: OSError | RuntimeError) -> int | None:
    """The error's errno. h5py may raise a RuntimeError that has it in its text alone."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = re.search(r"errno = (\d+)", str(error))
    return int(found[1]) if found else None

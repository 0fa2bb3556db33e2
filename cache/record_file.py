"""Reading records from a file straight into where they are wanted, without a map."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from configs import UserError

MOST_ROWS = 1024
"""Linux takes no more buffers in one call (IOV_MAX)."""


def read_rows(path: Path, offset: int, rows: Sequence[memoryview]) -> None:
    """Fill `rows`, of bytes, with consecutive bytes of `path` from `offset`. Raises `UserError`."""
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    try:
        for start in range(0, len(rows), MOST_ROWS):
            offset = _fill(file, path, offset, list(rows[start : start + MOST_ROWS]))
    finally:
        os.close(file)


def _fill(file: int, path: Path, offset: int, rows: list[memoryview]) -> int:
    """Returns where it stopped. The kernel may read less at once than it was asked for."""
    while rows:
        read = os.preadv(file, rows, offset)
        if not read:
            raise UserError(f"{path} ends at byte {offset:,}, inside a record: see `cache verify`")
        offset += read
        while rows and read >= len(rows[0]):
            read -= len(rows.pop(0))
        if read:
            rows[0] = rows[0][read:]
    return offset

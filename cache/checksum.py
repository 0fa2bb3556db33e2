"""CRC-32C of records (Castagnoli polynomial, RFC 3720 appendix B.4; the checksum that Zarr uses)."""

from __future__ import annotations

import os
from collections.abc import Iterable

import google_crc32c
import numpy as np


def crc32c(content: bytes) -> int:
    """CRC-32C of `content`."""
    return int(google_crc32c.value(content))


def frame_checksum(file: int, size: int, runs: Iterable[tuple[int, int]]) -> int:
    """CRC-32C of an open file's bytes outside `runs`, the (offset, length) of its records."""
    checksum = position = 0
    for offset, length in [*sorted(runs), (size, 0)]:
        gap = os.pread(file, offset - position, position)
        checksum = google_crc32c.extend(checksum, gap)
        position = offset + length
    return int(checksum)


def record_checksums(records: np.ndarray) -> list[int]:
    """CRC-32C of each record of a contiguous array (records, …)."""
    rows = records.reshape(len(records), -1).view(np.uint8)
    rows.flags.writeable = False  # the C implementation takes read-only buffers, without a copy
    return [int(google_crc32c.value(row)) for row in rows]

from __future__ import annotations

import numpy as np
import pytest

from cache.checksum import crc32c, record_checksums

# RFC 3720, appendix B.4, and the check value of the catalogue of CRC algorithms
VECTORS = [
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
    (b"123456789", 0xE3069283),
    (b"", 0),
]


@pytest.mark.parametrize(("content", "expected"), VECTORS)
def test_published_vectors(content: bytes, expected: int) -> None:
    assert crc32c(content) == expected


def test_each_record_has_a_checksum_of_its_own() -> None:
    records = np.frombuffer(bytes(32) + b"\xff" * 32 + bytes(range(32)), dtype="<u2").reshape(3, 4, 4)
    assert record_checksums(records) == [0x8A9136AA, 0x62A8AB43, 0x46DD794E]


def test_records_may_be_single_numbers() -> None:
    assert record_checksums(np.array([1, -1])) == [crc32c(b"\1" + bytes(7)), crc32c(b"\xff" * 8)]


def test_records_stay_writable() -> None:
    records = np.zeros((2, 3))
    record_checksums(records)
    records[0] = 1
    assert records.sum() == 3

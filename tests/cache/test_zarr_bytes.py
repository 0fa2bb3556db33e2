"""The bytes of a tiny Zarr v3 split, against the specification: no library of ours or theirs between."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cache import SplitManifest

MISSING = 2**64 - 1
RECORDS = bytes.fromhex(
    "003c 0040 0042 0044"  # 1 2 / 3 4
    "0045 0046 0047 0048"  # 5 6 / 7 8
    "8048 0049 8049 004a"  # 9 10 / 11 12
)
INDEX = struct.pack("<8Q", 0, 8, 8, 8, 16, 8, MISSING, MISSING)


def _crc32c(content: bytes) -> int:
    """Bit by bit, with the reflected Castagnoli polynomial."""
    register = 0xFFFFFFFF
    for byte in content:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


@pytest.fixture(scope="module")
def tiny(
    tmp_path_factory: pytest.TempPathFactory,
    split_manifest: Callable[..., SplitManifest],
    write_split: Callable[..., Path],
) -> Path:
    """Three records of shape (2, 2) in a shard made for four."""
    manifest = split_manifest(
        records=3, shard_size=4, num_tokens=2, dim=2, num_prefix=0, normed_mean=False, views=1
    )
    tokens = np.arange(1, 13, dtype="<f2").reshape(1, 3, 2, 2)
    return write_split(
        tmp_path_factory.mktemp("bytes"),
        manifest,
        {
            "block3/patches": tokens,
            "block3/mean": tokens.astype("<f4").mean(axis=2),
            "labels": np.array([1, 0, -1]),
            "sample_id": np.array([2, 0, 1]),
        },
        batches=(2,),
    )


def test_plain_crc32c_gives_the_standard_check_value() -> None:
    assert _crc32c(b"123456789") == 0xE3069283


def test_shard_is_records_then_index_then_checksum_of_the_index(tiny: Path) -> None:
    expected = RECORDS + INDEX + _crc32c(INDEX).to_bytes(4, "little")
    assert (tiny / "block3/patches/c/0/0/0/0").read_bytes() == expected


def test_labels_are_a_plain_chunk_padded_with_zeros(tiny: Path) -> None:
    assert (tiny / "labels/c/0").read_bytes() == bytes.fromhex(
        "0100000000000000 0000000000000000 ffffffffffffffff 0000000000000000"
    )


def test_means_are_a_plain_chunk_padded_with_zeros(tiny: Path) -> None:
    assert (tiny / "block3/mean/c/0/0/0").read_bytes() == struct.pack("<8f", 2, 3, 6, 7, 10, 11, 0, 0)


def test_metadata_of_a_sharded_array(tiny: Path) -> None:
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    assert json.loads((tiny / "block3/patches/zarr.json").read_bytes()) == {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [1, 3, 2, 2],
        "data_type": "float16",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 4, 2, 2]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0.0,
        "codecs": [
            {
                "name": "sharding_indexed",
                "configuration": {
                    "chunk_shape": [1, 1, 2, 2],
                    "codecs": [little],
                    "index_codecs": [little, {"name": "crc32c"}],
                    "index_location": "end",
                },
            }
        ],
        "attributes": {"dtype": "float16"},
        "dimension_names": ["view", "record", "token", "channel"],
    }


def test_metadata_of_a_plain_array(tiny: Path) -> None:
    assert json.loads((tiny / "labels/zarr.json").read_bytes()) == {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [3],
        "data_type": "int64",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": -1,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "attributes": {"dtype": "int64"},
        "dimension_names": ["record"],
    }


def test_every_folder_from_the_store_down_is_a_group(tiny: Path) -> None:
    for folder in (tiny.parent.parent, tiny.parent, tiny, tiny / "block3"):
        assert json.loads((folder / "zarr.json").read_bytes()) == {
            "zarr_format": 3,
            "node_type": "group",
            "attributes": {},
        }

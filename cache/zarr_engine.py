"""Zarr v3: one file per array, view and shard, readable by any Zarr v3 library.

Patches use the `sharding_indexed` codec with one inner chunk per record: a shard file is the records
back to back, then the index (little-endian uint64 offset and length of each chunk), then the index's
CRC-32C (zarr-specs, v3 codecs/sharding-indexed). The small arrays are plain chunks of a shard's
records, which Zarr stores at full size: the last one is padded with zeros.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import cache as memoized
from pathlib import Path
from typing import Any

import numpy as np

from cache import atomic
from cache.arrays import ArraySpec
from cache.checksum import crc32c
from cache.engine import Engine, Extent, Run

MISSING_CHUNK = 2**64 - 1
METADATA = "zarr.json"

_LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}


def shard_index(records: int, shard_size: int, record_bytes: int) -> bytes:
    """The index that closes a shard of which the first `records` chunks are present."""
    entries = np.full((shard_size, 2), MISSING_CHUNK, dtype="<u8")
    entries[:records, 0] = np.arange(records, dtype=np.uint64) * record_bytes
    entries[:records, 1] = record_bytes
    content = entries.tobytes()
    return content + struct.pack("<I", crc32c(content))


def array_metadata(array: ArraySpec, records: int, shard_size: int) -> dict[str, Any]:
    """`zarr.json` of an array."""
    views = () if array.views is None else (1,)
    chunk = [*views, shard_size, *array.record_shape]
    codecs: list[dict[str, Any]] = [_LITTLE]
    if array.record_chunks:
        codecs = [
            {
                "name": "sharding_indexed",
                "configuration": {
                    "chunk_shape": [*views, 1, *array.record_shape],
                    "codecs": [_LITTLE],
                    "index_codecs": [_LITTLE, {"name": "crc32c"}],
                    "index_location": "end",
                },
            }
        ]
    integer = array.storage_dtype.kind in "iu"
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(array.shape(records)),
        "data_type": array.storage_dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": array.fill_value if integer else float(array.fill_value),
        "codecs": codecs,
        "attributes": {"dtype": array.dtype},
        "dimension_names": [
            *("view" for _ in views),
            "record",
            *_record_axes(len(array.record_shape)),
        ],
    }


def _record_axes(rank: int) -> list[str | None]:
    """Names of a record's axes: the last two are tokens and channels."""
    return [None] * (rank - 2) + list(("token", "channel")[-rank:] if rank else ())


class ZarrEngine(Engine):
    """The default engine."""

    def description(self) -> Mapping[Path, bytes]:
        group = {"zarr_format": 3, "node_type": "group", "attributes": {}}
        folders = [self.folder.parent.parent, self.folder.parent, self.folder]
        folders += [(self.folder / array.name).parent for array in self.manifest.arrays]
        metadata = dict.fromkeys(folders, group)
        for array in self.manifest.arrays:
            metadata[self.folder / array.name] = array_metadata(
                array, self.manifest.records, self.manifest.shard_size
            )
        return {folder / METADATA: atomic.as_json(value) for folder, value in metadata.items()}

    def _path(self, array: ArraySpec, run: int, shard: int) -> Path:
        key = [str(shard), *("0" for _ in array.record_shape)]
        if array.views is not None:
            key.insert(0, str(run))
        return self.folder.joinpath(array.name, "c", *key)

    def extents(self, shard: int) -> Mapping[Run, Extent]:
        return {
            (array.name, run): Extent(self._path(array, run, shard), 0)
            for array in self.manifest.arrays
            for run in range(array.runs)
        }

    def files(self, shard: int) -> list[Path]:
        return [extent.path for extent in self.extents(shard).values()]

    def prepare(self, shard: int) -> Mapping[Run, Extent]:
        extents = {}
        for run, extent in self.extents(shard).items():
            extent.path.parent.mkdir(parents=True, exist_ok=True)
            path = atomic.temporary(extent.path)
            path.write_bytes(b"")
            extents[run] = Extent(path, 0)
        return extents

    def trailer(self, array: ArraySpec, shard: int) -> bytes:
        return _trailer(array, self.manifest.shard_records(shard), self.manifest.shard_size)


@memoized
def _trailer(array: ArraySpec, records: int, shard_size: int) -> bytes:
    if array.record_chunks:
        return shard_index(records, shard_size, array.record_bytes)
    return bytes((shard_size - records) * array.record_bytes)

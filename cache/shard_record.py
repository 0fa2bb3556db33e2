"""`shards/00017.json`: what says that a shard is whole, and what its bytes must be."""

from __future__ import annotations

from pathlib import Path

from cache.manifest import read_manifest, write_manifest
from configs import FrozenModel


class ArrayRecord(FrozenModel):
    """One array of a shard. Checksums run over views, then records."""

    crc32c: tuple[int, ...]
    minimum: float
    maximum: float


class FileRecord(FrozenModel):
    """One file of a shard: its size, and a checksum of all its bytes that are not records."""

    bytes: int
    frame_crc32c: int


class ShardRecord(FrozenModel):
    """Written last: its presence means that every file of the shard is whole."""

    split_crc32c: int
    """The checksum of the split's manifest: whose shard this is."""
    shard: int
    first: int
    records: int
    arrays: dict[str, ArrayRecord]
    files: dict[str, FileRecord]
    """Path below the split's folder → what the file must be."""
    skipped: dict[int, str]
    """Record → why its image could not be read. Its label is −1, its tokens are zeros."""


def shard_record_path(folder: Path, shard: int) -> Path:
    """Where the record of `shard` stands in a split's folder."""
    return folder / "shards" / f"{shard:05d}.json"


def write_shard_record(folder: Path, record: ShardRecord) -> None:
    """Declare a shard whole."""
    write_manifest(shard_record_path(folder, record.shard), record)


def read_shard_record(folder: Path, shard: int) -> ShardRecord:
    """The record of a stored shard. Raises `UserError` when it cannot be read."""
    return read_manifest(shard_record_path(folder, shard), ShardRecord)

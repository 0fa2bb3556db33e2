"""`shards/00017.json`: what says that a shard is whole, and what its bytes must be."""

from __future__ import annotations

from pathlib import Path

from cache import atomic
from cache.manifest import read_manifest
from configs import FrozenModel


class ArrayRecord(FrozenModel):
    """One array of a shard. Checksums run over views, then records."""

    crc32c: tuple[int, ...]
    minimum: float
    maximum: float


class ShardRecord(FrozenModel):
    """Written last: its presence means that every file of the shard is whole."""

    shard: int
    first: int
    records: int
    arrays: dict[str, ArrayRecord]
    skipped: dict[int, str]
    """Record → why its image could not be read. Its label is −1, its tokens are zeros."""


def shard_record_path(folder: Path, shard: int) -> Path:
    """Where the record of `shard` stands in a split's folder."""
    return folder / "shards" / f"{shard:05d}.json"


def write_shard_record(folder: Path, record: ShardRecord) -> None:
    """Declare a shard whole."""
    content = record.model_dump_json().encode() + b"\n"
    atomic.write_bytes(shard_record_path(folder, record.shard), content)


def read_shard_record(folder: Path, shard: int) -> ShardRecord:
    """The record of a stored shard. Raises `UserError` when it cannot be read."""
    return read_manifest(shard_record_path(folder, shard), ShardRecord)

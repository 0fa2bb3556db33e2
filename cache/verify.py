"""Looking for damage: every byte of a store against what was written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cache.checksum import frame_checksum, record_checksums
from cache.engine import Run, run_extents
from cache.final_norm import FINAL_NORM
from cache.manifest import MANIFEST
from cache.shard_record import ShardRecord, shard_record_path
from cache.split_reader import SplitReader
from cache.store import Store
from configs import UserError

READ_BYTES = 32 * 2**20
"""Read at once by each thread."""


@dataclass(frozen=True)
class Damage:
    """A file that is not what was written, and how it differs."""

    path: Path
    what: str
    shard: int | None = None
    """The shard that it belongs to; None for what describes a split or the store."""


def verify_store(store: Store, workers: int, on_bytes: Callable[[int], None]) -> Iterator[Damage]:
    """Every damage in the store; `on_bytes` is told of bytes as they are checked.

    Checked: each record against its CRC-32C, all other bytes of every shard file, sizes, manifests, the
    files that describe a format, the final norm. A shard that is not stored yet is not damage.
    """
    yield from _verify_norm(store)
    for dataset, splits in store.splits().items():
        for name in splits:
            try:
                split = store.split(dataset, name)
            except UserError as error:
                yield Damage(store.folder / dataset / name, str(error))
                continue
            yield from verify_split(split, workers, on_bytes)


def _verify_norm(store: Store) -> Iterator[Damage]:
    try:
        _ = store.final_norm
    except UserError as error:
        yield Damage(store.folder / FINAL_NORM, str(error))


def verify_split(
    split: SplitReader,
    workers: int,
    on_bytes: Callable[[int], None],
    shards: Sequence[int] | None = None,
) -> Iterator[Damage]:
    """Every damage in one split, in all shards that are stored or in some of them."""
    named = split.manifest.dataset
    if (named.name, named.split) != (split.folder.parent.name, split.folder.name):
        yield Damage(split.folder / MANIFEST, f"is the manifest of {split.name}")
        return
    for path, content in split.engine.description().items():
        if not path.is_file() or path.read_bytes() != content:
            yield Damage(path, "is missing" if not path.is_file() else "differs from what the manifest says")
    with ThreadPoolExecutor(workers, "verify") as threads:
        checked = split.stored_shards() if shards is None else shards
        found = threads.map(lambda shard: _verify_shard(split, shard, on_bytes), checked)
        for damages in found:
            yield from damages


def _verify_shard(split: SplitReader, shard: int, on_bytes: Callable[[int], None]) -> list[Damage]:
    try:
        record = split.shard_record(shard)
    except UserError as error:
        return [Damage(shard_record_path(split.folder, shard), str(error), shard)]
    if not split.owns(record, shard):
        path = shard_record_path(split.folder, shard)
        return [Damage(path, "is the record of another shard, or of another split", shard)]
    return [
        Damage(path, what, shard)
        for path in split.engine.files(shard)
        for what in _differences_of(split, record, path, on_bytes)
    ]


def _differences_of(
    split: SplitReader, record: ShardRecord, path: Path, on_bytes: Callable[[int], None]
) -> Iterator[str]:
    """How a file of a shard differs from what was written, in words."""
    expected = record.files[path.relative_to(split.folder).as_posix()]
    if not path.is_file():
        yield "is missing"
        return
    size = path.stat().st_size
    if size != expected.bytes:
        yield f"has {size:,} bytes, not {expected.bytes:,}"
        return
    try:
        extents = split.engine.extents(record.shard)
    except UserError as error:
        yield str(error)
        return
    runs = run_extents(extents, path, split.manifest, record.shard)
    file = os.open(path, os.O_RDONLY)
    try:
        if frame_checksum(file, size, runs.values()) != expected.frame_crc32c:
            yield "has damage outside its records"
        for run, (offset, _) in runs.items():
            bad = _bad_records(split, record, run, file, offset)
            if bad:
                shown = ", ".join(map(str, bad[:8])) + (" …" if len(bad) > 8 else "")
                yield f"has {len(bad)} damaged record(s) of {run[0]}: {shown}"
    finally:
        os.close(file)
    on_bytes(size)


def _bad_records(split: SplitReader, record: ShardRecord, run: Run, file: int, offset: int) -> list[int]:
    """Positions in the split of the run's records whose checksum does not fit."""
    name, view = run
    record_bytes = split.manifest.array(name).record_bytes
    first = view * record.records
    expected = record.arrays[name].crc32c[first : first + record.records]
    at_once = max(1, READ_BYTES // record_bytes)
    bad = []
    for start in range(0, record.records, at_once):
        count = min(at_once, record.records - start)
        content = os.pread(file, count * record_bytes, offset + start * record_bytes)
        rows = np.frombuffer(content, dtype=np.uint8).reshape(count, record_bytes)
        for row, checksum in enumerate(record_checksums(rows)):
            if checksum != expected[start + row]:
                bad.append(record.first + start + row)
    return bad

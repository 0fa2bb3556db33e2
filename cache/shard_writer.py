"""Composing one shard's files from batches of records."""

from __future__ import annotations

import math
import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from cache import atomic
from cache.arrays import ArraySpec, scale_name
from cache.checksum import frame_checksum, record_checksums
from cache.encode import Encoded
from cache.engine import Engine, run_extents
from cache.manifest import manifest_checksum
from cache.shard_record import ArrayRecord, FileRecord, ShardRecord, write_shard_record
from cache.write_errors import clear_when_unwritable

FLUSH_BYTES = 32 * 2**20
"""Written before the disk is told to begin."""


@dataclass
class _ArrayState:
    """What is known of one array of the shard so far."""

    checksums: np.ndarray  # (V, records) int64; −1 where nothing is written yet
    minimum: float = field(default=float("inf"))
    maximum: float = field(default=float("-inf"))


class ShardWriter:
    """Writes one shard: any number of `write`, then `commit` or `abort`.

    Records go straight to their final offsets in files that still have temporary names, so memory holds
    no more than the caller's batch.
    """

    def __init__(self, engine: Engine, shard: int) -> None:
        self._engine = engine
        self._manifest = engine.manifest
        self.shard = shard
        self.first = shard * self._manifest.shard_size
        self.records = self._manifest.shard_records(shard)
        self._skipped: dict[int, str] = {}
        self._arrays = {
            array.name: _ArrayState(np.full((array.runs, self.records), -1, dtype=np.int64))
            for array in self._manifest.arrays
        }
        with clear_when_unwritable(engine.folder):
            self.extents = engine.prepare(shard)
            paths = {extent.path for extent in self.extents.values()}
            self._files = {path: os.open(path, os.O_RDWR) for path in paths}
        self._flushes = ThreadPoolExecutor(1, "shard-flush")
        self._flushing: Future[None] = self._flushes.submit(lambda: None)
        self._unflushed = 0

    def write(
        self,
        name: str,
        first: int,
        values: np.ndarray,
        *,
        minimum: float | None = None,
        maximum: float | None = None,
    ) -> None:
        """Write consecutive records of array `name`, from record `first` of the shard.

        `values`: (V, records, *record_shape), or without V where the array has no views, in the array's
        storage dtype. `minimum` and `maximum` are computed here unless they are given. Raises `ValueError`
        where they are not finite.
        """
        array = self._manifest.array(name)
        assert values.shape == array.shape(values.shape[0 if array.views is None else 1]), name
        runs = values[np.newaxis] if array.views is None else values
        for view, records in enumerate(runs):
            self.write_view(name, view, first, records, minimum=minimum, maximum=maximum)

    def write_view(
        self,
        name: str,
        view: int,
        first: int,
        values: np.ndarray,
        *,
        minimum: float | None = None,
        maximum: float | None = None,
    ) -> None:
        """As `write`, one view of the array: `values` (records, *record_shape)."""
        array = self._manifest.array(name)
        assert values.shape[1:] == array.record_shape, (name, values.shape)
        assert values.dtype == array.storage_dtype, (name, values.dtype)
        state = self._arrays[name]
        if minimum is None or maximum is None:
            minimum, maximum = (float(end) for end in torch.aminmax(array.as_tensor(values)))
        if not (math.isfinite(minimum) and math.isfinite(maximum)):
            raise ValueError(f"{name}: a store holds no NaN and no infinity")
        state.minimum, state.maximum = min(state.minimum, minimum), max(state.maximum, maximum)
        contiguous = np.ascontiguousarray(values)
        state.checksums[view, first : first + len(values)] = record_checksums(contiguous)
        self._write_at(array, view, first, contiguous.data.cast("B"))
        self._flush_ahead(self._files[self.extents[name, view].path], contiguous.nbytes)

    def write_encoded(self, name: str, first: int, encoded: Encoded, view: int = 0) -> int:
        """Write consecutive records (records, *record_shape) of a view of array `name`, with their scales.

        Returns the bytes written.
        """
        values = encoded.tokens.cpu().numpy()
        ends = {"minimum": encoded.minimum.item(), "maximum": encoded.maximum.item()}
        self.write_view(name, view, first, values, **ends)
        if encoded.scales is None:
            return values.nbytes
        scales = encoded.scales.cpu().numpy()
        self.write_view(scale_name(name), view, first, scales)
        return values.nbytes + scales.nbytes

    def skip(self, record: int, reason: str) -> None:
        """Say why record `record` of the shard (written as zeros, label −1) is left out."""
        self._skipped[record] = reason

    def _write_at(self, array: ArraySpec, run: int, first: int, content: memoryview) -> None:
        extent = self.extents[array.name, run]
        offset = extent.offset + first * array.record_bytes
        with clear_when_unwritable(self._engine.folder):
            while content:
                written = os.pwrite(self._files[extent.path], content, offset)
                content, offset = content[written:], offset + written

    def _flush_ahead(self, file: int, written: int) -> None:
        """Let the disk begin while the next records are written, so that `commit` has less to wait for."""
        self._unflushed += written
        if self._unflushed >= FLUSH_BYTES and self._flushing.done():
            self._raise_if_not_flushed()
            self._flushing, self._unflushed = self._flushes.submit(os.fdatasync, file), 0

    def _raise_if_not_flushed(self) -> None:
        """The system tells of a failed write once, to whoever flushes first."""
        with clear_when_unwritable(self._engine.folder):
            self._flushing.result()

    def commit(self) -> None:
        """Flush, rename, and declare the shard whole."""
        for array in self._manifest.arrays:
            assert (self._arrays[array.name].checksums >= 0).all(), f"{array.name} is not complete"
            trailer = memoryview(self._engine.trailer(array, self.shard))
            for run in range(array.runs):
                self._write_at(array, run, self.records, trailer)
        record = self._record()
        self._raise_if_not_flushed()
        with clear_when_unwritable(self._engine.folder):
            self._close()
            atomic.publish(*self._engine.files(self.shard))
            write_shard_record(self._engine.folder, record)

    def _record(self) -> ShardRecord:
        return ShardRecord(
            split_crc32c=manifest_checksum(self._manifest),
            shard=self.shard,
            first=self.first,
            records=self.records,
            arrays={
                name: ArrayRecord(
                    crc32c=tuple(state.checksums.ravel().tolist()),
                    minimum=state.minimum,
                    maximum=state.maximum,
                )
                for name, state in self._arrays.items()
            },
            files={
                path.relative_to(self._engine.folder).as_posix(): self._file_record(path)
                for path in self._engine.files(self.shard)
            },
            skipped=dict(sorted(self._skipped.items())),
        )

    def _file_record(self, path: Path) -> FileRecord:
        file = self._files[atomic.temporary(path)]
        size = os.fstat(file).st_size
        runs = run_extents(self.extents, atomic.temporary(path), self._manifest, self.shard)
        return FileRecord(bytes=size, frame_crc32c=frame_checksum(file, size, runs.values()))

    def abort(self) -> None:
        """Leave nothing of the shard."""
        self._close()
        for path in self._engine.files(self.shard):
            atomic.temporary(path).unlink(missing_ok=True)

    def _close(self) -> None:
        self._flushes.shutdown()
        for file in self._files.values():
            os.close(file)
        self._files = {}

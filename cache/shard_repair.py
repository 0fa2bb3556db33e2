"""Rebuilding one shard: what is sound is copied, what is not is replaced."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cache import atomic
from cache.arrays import ArraySpec
from cache.checksum import record_checksums
from cache.engine import Run
from cache.shard_record import ShardRecord
from cache.shard_writer import ShardWriter
from cache.split_reader import SplitReader
from configs import UserError

COPY_BYTES = 32 * 2**20
"""Copied at once."""


@dataclass(frozen=True)
class ShardResult:
    """What a repair did: how many records it replaced, and how many of those differ from what was lost.

    Where the shard's checksums were lost too, the latter is None.
    """

    shard: int
    replaced: int
    changed: int | None


class ShardRepair:
    """Fills `writer` with the sound records of `split`, and with replacements of the others.

    A record is sound when it has its checksum; without the shard's own record there are none, and nothing
    counts as sound. Records are looked for where they must be, so that damage to a file's header or index
    costs no record. The old files stay as they are until `commit` renames the new ones over them.
    """

    def __init__(self, split: SplitReader, writer: ShardWriter) -> None:
        self._manifest = split.manifest
        self._writer = writer
        self._record = _readable_record(split, writer.shard)
        runs = [(array.name, view) for array in self._manifest.arrays for view in range(array.runs)]
        self._unsound = {run: self._find_unsound(run) for run in runs}
        self._replacements: dict[Run, dict[int, np.ndarray]] = {run: {} for run in runs}
        self._ranges = (
            {name: (array.minimum, array.maximum) for name, array in self._record.arrays.items()}
            if self._record
            else {}
        )

    @property
    def left_out(self) -> Mapping[int, str]:
        """Place in the shard → why its image was left out."""
        if self._record is not None:
            return self._record.skipped
        labels = self.values("labels", 0, self._writer.records)
        return dict.fromkeys(np.flatnonzero(labels < 0).tolist(), "could not be read; the reason is lost")

    @property
    def unsound(self) -> list[int]:
        """Places in the shard of the records of which something must be replaced."""
        return list(map(int, np.flatnonzero(np.any(list(self._unsound.values()), axis=0))))

    def is_sound(self, name: str, place: int) -> bool:
        """Whether that record of array `name` has its checksum, in every view."""
        views = range(self._manifest.array(name).runs)
        return not any(self._unsound[name, view][place] for view in views)

    def values(self, name: str, first: int, count: int, view: int = 0) -> np.ndarray:
        """(count, *record_shape): what is stored there, sound or not; zeros where the file has ended."""
        array = self._manifest.array(name)
        extent = self._writer.extents[name, view]
        values = np.zeros((count, *array.record_shape), array.storage_dtype)
        path = atomic.published(extent.path)
        if path.is_file():
            file = os.open(path, os.O_RDONLY)
            try:
                offset = extent.offset + first * array.record_bytes
                content = os.pread(file, count * array.record_bytes, offset)
            finally:
                os.close(file)
            values.reshape(-1).view(np.uint8)[: len(content)] = np.frombuffer(content, np.uint8)
        return values

    def _find_unsound(self, run: Run) -> np.ndarray:
        """(records,) bool."""
        name, view = run
        records = self._writer.records
        if self._record is None:
            return np.ones(records, dtype=bool)
        stored = self._record.arrays[name].crc32c[view * records : (view + 1) * records]
        found = [
            checksum
            for first, count in self._pieces(self._manifest.array(name))
            for checksum in record_checksums(self.values(name, first, count, view))
        ]
        return np.not_equal(found, stored)

    def _pieces(self, array: ArraySpec) -> list[tuple[int, int]]:
        """First record and number of records of every piece that is copied at once."""
        step = max(1, COPY_BYTES // array.record_bytes)
        starts = range(0, self._writer.records, step)
        return [(start, min(step, self._writer.records - start)) for start in starts]

    def replace(
        self, name: str, place: int, value: np.ndarray, ends: tuple[float, float] | None = None, view: int = 0
    ) -> None:
        """Put `value` (*record_shape) into the place of an unsound record; a sound one stays as it is.

        `ends`: the range that the record belongs to, where the stored values do not tell it (int8 codes).
        """
        if self._unsound[name, view][place]:
            self._replacements[name, view][place] = value
            if ends is not None:
                low, high = self._ranges.get(name, ends)
                self._ranges[name] = min(low, ends[0]), max(high, ends[1])

    def commit(self) -> ShardResult:
        """Write the shard anew. Every unsound record must have been replaced."""
        for array in self._manifest.arrays:
            low, high = self._ranges.get(array.name, (None, None))
            for first, count in self._pieces(array):
                views = np.stack(
                    [self._rebuilt((array.name, view), first, count) for view in range(array.runs)]
                )
                values = views[0] if array.views is None else views
                self._writer.write(array.name, first, values, minimum=low, maximum=high)
        for place, why in self.left_out.items():
            self._writer.skip(place, why)
        self._writer.commit()
        return ShardResult(self._writer.shard, len(self.unsound), self._changed())

    def _rebuilt(self, run: Run, first: int, count: int) -> np.ndarray:
        name, view = run
        values = self.values(name, first, count, view)
        for place in np.flatnonzero(self._unsound[run][first : first + count]):
            values[place] = self._replacements[run][first + int(place)]
        return values

    def _changed(self) -> int | None:
        """Replaced records whose checksum is not the one that was stored."""
        if self._record is None:
            return None
        differing: set[int] = set()
        for (name, view), replaced in self._replacements.items():
            stored = self._record.arrays[name].crc32c[view * self._writer.records :]
            for place, value in replaced.items():
                if record_checksums(np.ascontiguousarray(value)[np.newaxis])[0] != stored[place]:
                    differing.add(place)
        return len(differing)


def _readable_record(split: SplitReader, shard: int) -> ShardRecord | None:
    """The shard's record, if it is there and is that of this very shard."""
    try:
        record = split.shard_record(shard)
    except UserError:
        return None
    return record if split.owns(record, shard) else None

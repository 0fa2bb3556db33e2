"""Reading one split: every record of every array through memory maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cache.checksum import record_checksums
from cache.engine import Extent, Run
from cache.engines import open_engine
from cache.manifest import MANIFEST, SplitManifest, StoreManifest, manifest_checksum, read_manifest
from cache.record_file import read_rows
from cache.shard_record import ShardRecord, read_shard_record, shard_record_path
from configs import UserError

_MOST_VIEWS = 1 << 20


class SplitReader:
    """A split on disk. Picklable; maps are opened on first use, in whichever process uses them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = read_manifest(folder / MANIFEST, SplitManifest)
        self.engine = open_engine(folder, self.manifest)
        self._extents: dict[int, Mapping[Run, Extent]] = {}
        self._maps: dict[tuple[str, int, int], np.ndarray] = {}
        self._records: dict[int, ShardRecord] = {}

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_extents": {}, "_maps": {}, "_records": {}}

    @property
    def name(self) -> str:
        """`dataset/split`, as messages name it."""
        return f"{self.manifest.dataset.name}/{self.manifest.dataset.split}"

    def stored_shards(self) -> list[int]:
        """Shards that are whole."""
        return [
            shard for shard in range(self.manifest.shards) if shard_record_path(self.folder, shard).exists()
        ]

    def shard_record(self, shard: int) -> ShardRecord:
        """What was written when `shard` became whole."""
        return read_shard_record(self.folder, shard)

    def owns(self, record: ShardRecord, shard: int) -> bool:
        """Whether `record` is that of `shard` of this split, and not of another that took its place."""
        manifest = self.manifest
        expected = (
            (manifest_checksum(manifest), shard, shard * manifest.shard_size, manifest.shard_records(shard)),
            {path.relative_to(self.folder).as_posix() for path in self.engine.files(shard)},
            {array.name for array in manifest.arrays},
        )
        place = (record.split_crc32c, record.shard, record.first, record.records)
        return (place, set(record.files), set(record.arrays)) == expected

    def require_complete(self) -> None:
        """Raise `UserError` unless every shard is whole."""
        stored = len(self.stored_shards())
        if stored < self.manifest.shards:
            store = read_manifest(self.folder.parent.parent / MANIFEST, StoreManifest)
            raise UserError(
                f"{self.folder} is incomplete, {stored} of {self.manifest.shards} shards are stored: "
                f"run the {store.maker} command that began it again, it goes on from there"
            )

    def shard(self, name: str, shard: int, view: int = 0) -> np.ndarray:
        """Records of one shard: (records, *record_shape) in the storage dtype, mapped, read-only."""
        key = (name, shard, view)
        if key not in self._maps:
            self._maps[key] = self._map(*key)
        return self._maps[key]

    def extent(self, name: str, shard: int, view: int = 0) -> Extent:
        """Where the records of one shard are."""
        array = self.manifest.array(name)
        if not 0 <= view < array.runs:
            raise UserError(f"{self.name} holds {array.runs} view(s) of {name}, not view {view}")
        if shard not in self._extents:
            self._extents[shard] = self.engine.extents(shard)
        return self._extents[shard][name, view]

    def read(self, name: str, first: int, rows: Sequence[memoryview], view: int = 0) -> None:
        """Read consecutive records of one shard, from record `first` of the split, each into one of `rows`.

        Nothing is mapped, so nothing stays in this process's memory.
        """
        shard, place = divmod(first, self.manifest.shard_size)
        extent = self.extent(name, shard, view)
        offset = extent.offset + place * self.manifest.array(name).record_bytes
        read_rows(extent.path, offset, rows)

    def _map(self, name: str, shard: int, view: int) -> np.ndarray:
        array = self.manifest.array(name)
        extent = self.extent(name, shard, view)
        records = self.manifest.shard_records(shard)
        needed = extent.offset + records * array.record_bytes
        try:
            held = extent.path.stat().st_size
        except FileNotFoundError:
            raise UserError(f"{extent.path} is missing from the store") from None
        if held < needed:
            raise UserError(f"{extent.path} is truncated: {held:,} bytes of {needed:,}")
        mapped = np.memmap(
            extent.path,
            dtype=array.storage_dtype,
            mode="r",
            offset=extent.offset,
            shape=(records, *array.record_shape),
        )
        return mapped.view(np.ndarray)  # memmap's own indexing costs as much as copying a small record

    def gather(self, name: str, records: np.ndarray, out: np.ndarray, view: int | np.ndarray = 0) -> None:
        """Copy `records` (positions in the split) of array `name` into the rows of `out`.

        `view`: of all of them, or (records,) of each.
        """
        shards, places = np.divmod(records, self.manifest.shard_size)
        runs = shards * _MOST_VIEWS + view  # one number for both: looking up pairs takes longer
        maps = {run: self.shard(name, *divmod(run, _MOST_VIEWS)) for run in np.unique(runs).tolist()}
        for row, (run, place) in enumerate(zip(runs.tolist(), places.tolist(), strict=True)):
            out[row] = maps[run][place]

    def require_sound(
        self, name: str, records: np.ndarray, read: np.ndarray, view: int | np.ndarray = 0
    ) -> None:
        """Raise `UserError` unless the rows of `read` have the checksums of `records`, as stored.

        `view`: as for `gather`.
        """
        size, views = self.manifest.shard_size, np.broadcast_to(view, records.shape).tolist()
        for record, own, checksum in zip(records.tolist(), views, record_checksums(read), strict=True):
            shard, place = divmod(record, size)
            if checksum != self._checksums(name, shard, own)[place]:
                raise UserError(
                    f"{self.name}: record {record} of {name} is damaged (shard {shard}): "
                    f"see `cache verify {self.folder.parent.parent}`"
                )

    def _checksums(self, name: str, shard: int, view: int) -> tuple[int, ...]:
        if shard not in self._records:
            self._records[shard] = self.shard_record(shard)
        record = self._records[shard]
        return record.arrays[name].crc32c[view * record.records : (view + 1) * record.records]

    def whole(self, name: str, view: int = 0) -> np.ndarray:
        """All records of a small array, copied: (n, *record_shape) in the storage dtype."""
        parts = [self.shard(name, shard, view) for shard in range(self.manifest.shards)]
        return np.concatenate(parts)

"""HDF5: one file per shard with contiguous, 4 KiB-aligned datasets, and one that shows them as a whole.

A contiguous dataset is plain bytes at one file offset, which the library tells. Shard files are laid out
by h5py without writing a value; the records are then written, and later mapped, at those offsets.
`split.h5` holds virtual datasets over all shards, for people who open the split with h5py.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import h5py

from cache import atomic
from cache.arrays import ArraySpec
from cache.engine import Engine, Extent, Run
from cache.hdf5_files import contiguous_layout, create_dataset, create_file
from configs import UserError

WHOLE_SPLIT = "split.h5"


class Hdf5Engine(Engine):
    """The engine for people whose tools read HDF5."""

    def _path(self, shard: int) -> Path:
        return self.folder / "shards" / f"{shard:05d}.h5"

    def description(self) -> Mapping[Path, bytes]:
        with tempfile.NamedTemporaryFile(suffix=".h5") as scratch:
            with create_file(Path(scratch.name)) as file:
                for array in self.manifest.arrays:
                    create_dataset(file, array, self.manifest.records, self._all_shards(array))
            return {self.folder / WHOLE_SPLIT: Path(scratch.name).read_bytes()}

    def _all_shards(self, array: ArraySpec) -> h5py.h5p.PropDCID:
        """A virtual layout: shard after shard along the record axis."""
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        record_axis = 0 if array.views is None else 1
        for shard in range(self.manifest.shards):
            shape = array.shape(self.manifest.shard_records(shard))
            start = [0] * len(shape)
            start[record_axis] = shard * self.manifest.shard_size
            place = h5py.h5s.create_simple(array.shape(self.manifest.records))
            place.select_hyperslab(tuple(start), shape)
            source = self._path(shard).relative_to(self.folder).as_posix()
            layout.set_virtual(place, source.encode(), array.name.encode(), h5py.h5s.create_simple(shape))
        return layout

    def files(self, shard: int) -> list[Path]:
        return [self._path(shard)]

    def prepare(self, shard: int) -> Mapping[Run, Extent]:
        path = atomic.temporary(self._path(shard))
        path.parent.mkdir(parents=True, exist_ok=True)
        records = self.manifest.shard_records(shard)
        with create_file(path) as file:
            for array in self.manifest.arrays:
                create_dataset(file, array, records, contiguous_layout())
        return self._runs(path, records)

    def extents(self, shard: int) -> Mapping[Run, Extent]:
        return self._runs(self._path(shard), self.manifest.shard_records(shard))

    def _runs(self, path: Path, records: int) -> dict[Run, Extent]:
        try:
            with h5py.File(path, "r") as file:
                offsets = {array.name: file[array.name].id.get_offset() for array in self.manifest.arrays}
        except (OSError, KeyError) as error:
            raise UserError(f"cannot read {path}: {error}") from None
        return {
            (array.name, run): Extent(path, offsets[array.name] + run * records * array.record_bytes)
            for array in self.manifest.arrays
            for run in range(array.runs)
        }

    def trailer(self, array: ArraySpec, shard: int) -> bytes:
        return b""

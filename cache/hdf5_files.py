"""Making HDF5 files whose bytes depend on their content alone.

Through h5py's low level, as the high one lets the library stamp the time of day on files, groups or datasets,
which of them depending on its version.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import h5py
import numpy as np

from cache.arrays import ArraySpec

ALIGNMENT = 4096
"""Bytes on which everything in a file starts: a page, and a disk's block."""

Properties = TypeVar("Properties", bound=h5py.h5p.PropOCID)


def _timeless(properties: Properties) -> Properties:
    properties.set_obj_track_times(False)
    return properties


def create_file(path: Path) -> h5py.File:
    """A new, empty file, open for writing."""
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_V112, h5py.h5f.LIBVER_V112)
    access.set_alignment(1, ALIGNMENT)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    properties = _timeless(h5py.h5p.create(h5py.h5p.FILE_CREATE))
    return h5py.File(h5py.h5f.create(bytes(path), h5py.h5f.ACC_TRUNC, fcpl=properties, fapl=access))


def contiguous_layout() -> h5py.h5p.PropDCID:
    """A dataset's bytes in one piece, allocated at once and left unwritten."""
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.CONTIGUOUS)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return layout


def create_dataset(file: h5py.File, array: ArraySpec, records: int, layout: h5py.h5p.PropDCID) -> None:
    """The dataset of `array` over `records` records, with its group."""
    group = str(Path(array.name).parent)
    if group not in file:
        h5py.h5g.create(file.id, group.encode(), gcpl=_timeless(h5py.h5p.create(h5py.h5p.GROUP_CREATE)))
    layout.set_fill_value(np.array(array.fill_value, array.storage_dtype))  # where a shard is not stored
    h5py.h5d.create(
        file.id,
        array.name.encode(),
        h5py.h5t.py_create(array.storage_dtype, logical=True),
        h5py.h5s.create_simple(array.shape(records)),
        dcpl=_timeless(layout),
    )
    file[array.name].attrs["dtype"] = np.bytes_(array.dtype)  # uint16 does not tell bfloat16

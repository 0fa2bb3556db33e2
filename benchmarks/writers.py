"""Every way to write a workload, flushed to the disk. Each library gets the faster of its ways."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import safetensors.torch
import torch
import zarr
from files import flush
from measure import Role
from own_store import own_store_name, write_store
from workload import Workload

from cache import StoreFormat, TokenDtype

Write = Callable[[Path, Workload], None]

ZARRS_PIPELINE = {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}


@dataclass(frozen=True)
class Writer:
    """Writes a workload into an empty folder, with `module`, which need not be installed."""

    label: str
    write: Write
    module: str = "numpy"
    role: Role = "other"

    @property
    def installed(self) -> bool:
        """Whether the library is there."""
        return find_spec(self.module) is not None


def plain_write(folder: Path, workload: Workload) -> None:
    """The same bytes with one `write` call for a batch, and a flush for each shard."""
    for shard in range(workload.shards):
        patches = workload.shard_patches(shard)
        with (folder / f"{shard:05d}").open("wb", buffering=0) as file:
            for first in range(0, workload.shard, workload.batch):
                content = patches[first : first + workload.batch].data.cast("B")
                while content:
                    content = content[file.write(content) :]
            os.fsync(file.fileno())


def write_npy(folder: Path, workload: Workload) -> None:
    """One .npy file for a shard."""
    for shard in range(workload.shards):
        np.save(folder / f"{shard:05d}.npy", workload.shard_patches(shard))
    flush(folder)


def write_h5py(folder: Path, workload: Workload) -> None:
    """One file with a contiguous data set for a shard."""
    for shard in range(workload.shards):
        patches = workload.shard_patches(shard)
        with h5py.File(folder / f"{shard:05d}.h5", "w") as file:
            dataset = file.create_dataset("patches", patches.shape, patches.dtype)
            for first in range(0, workload.shard, workload.batch):
                batch = slice(first, first + workload.batch)
                dataset.write_direct(patches, batch, batch)
    flush(folder)


def write_zarr(folder: Path, workload: Workload, settings: Mapping[str, str]) -> None:
    """A sharded array, one inner chunk for a record, assigned shard by shard: there is no faster way in."""
    with zarr.config.set(dict(settings)):
        array = zarr.create_array(
            folder,
            shape=(workload.records, *workload.record_shape),
            dtype="float16",
            chunks=(1, *workload.record_shape),
            shards=(workload.shard, *workload.record_shape),
            compressors=None,
        )
        for shard in range(workload.shards):
            first = shard * workload.shard
            array[first : first + workload.shard] = workload.shard_patches(shard)
    flush(folder)


def tensorstore_metadata(workload: Workload) -> dict[str, Any]:
    """The same array in TensorStore's words."""
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    sharding = {
        "chunk_shape": [1, *workload.record_shape],
        "codecs": [little],
        "index_codecs": [little, {"name": "crc32c"}],
    }
    shard_shape = [workload.shard, *workload.record_shape]
    return {
        "shape": [workload.records, *workload.record_shape],
        "data_type": "float16",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shard_shape}},
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
    }


def write_tensorstore(folder: Path, workload: Workload) -> None:
    """The same array, shard by shard; TensorStore flushes by itself."""
    import tensorstore

    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": str(folder)},
        "metadata": tensorstore_metadata(workload),
    }
    array = tensorstore.open(spec, create=True).result()
    for shard in range(workload.shards):
        first = shard * workload.shard
        array[first : first + workload.shard].write(workload.shard_patches(shard)).result()


def write_safetensors(folder: Path, workload: Workload) -> None:
    """One file for a shard, through safetensors.torch, which copies less than safetensors.numpy."""
    for shard in range(workload.shards):
        patches = torch.from_numpy(workload.shard_patches(shard))
        safetensors.torch.save_file({"patches": patches}, folder / f"{shard:05d}.safetensors")
    flush(folder)


def write_webdataset(folder: Path, workload: Workload) -> None:
    """One tar file for a shard, a .npy inside for each image."""
    import webdataset

    for shard in range(workload.shards):
        with webdataset.TarWriter(str(folder / f"{shard:05d}.tar")) as tar:
            first = shard * workload.shard
            for place, record in enumerate(workload.shard_patches(shard)):
                tar.write({"__key__": f"{first + place:08d}", "npy": record})
    flush(folder)


def write_pt(folder: Path, workload: Workload) -> None:
    """One .pt file for each image."""
    for record, patches in enumerate(workload.patches):
        torch.save(torch.from_numpy(patches), folder / f"{record:08d}.pt")
    flush(folder)


def _ours(engine: StoreFormat, dtype: TokenDtype) -> dict[str, Writer]:
    label = f"ours, {engine} engine{', int8' if dtype == 'int8' else ''}"
    write = partial(write_store, store_format=engine, dtype=dtype)
    return {own_store_name(engine, dtype): Writer(label, write, role="ours")}


CEILING = "plain write calls"

WRITERS: dict[str, Writer] = {
    "plain": Writer(CEILING, plain_write, role="ceiling"),
    **_ours("zarr", "float16"),
    **_ours("hdf5", "float16"),
    "npy": Writer("numpy .npy shards", write_npy),
    "h5py": Writer("h5py, contiguous shards", write_h5py),
    "zarr": Writer("zarr-python, sharded", partial(write_zarr, settings={})),
    "zarrs": Writer("zarr-python with zarrs", partial(write_zarr, settings=ZARRS_PIPELINE), "zarrs"),
    "tensorstore": Writer("tensorstore, zarr3", write_tensorstore, "tensorstore"),
    "safetensors": Writer("safetensors shards", write_safetensors),
    "webdataset": Writer("webdataset .tar shards", write_webdataset, "webdataset"),
    "pt": Writer(".pt file per image", write_pt),
}

INT8_WRITERS = _ours("zarr", "int8") | _ours("hdf5", "int8")
"""They encode on the processor, which extraction leaves to its device: for reading, not to be compared."""

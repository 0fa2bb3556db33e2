"""Every way to read the random batches back. Each library gets the faster of its ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias, get_args

import h5py
import numpy as np
import safetensors.torch
import torch
import zarr
from files import files_in
from measure import Role
from own_store import ENGINES, open_store, own_store_name
from workload import Workload
from writers import ZARRS_PIPELINE

from cache import Residency, StoreFormat, Tier, TokenDtype, TokenLoader

Batches: TypeAlias = Iterator[tuple[np.ndarray, np.ndarray]]
"""Which records a batch has, (B,), and their tokens as they are stored, (B, N, D)."""

Epoch: TypeAlias = Callable[[], Batches]
"""One pass over all records."""

INDEX_CACHE_BYTES = 100_000_000


@dataclass(frozen=True)
class Reader:
    """Opens what the writer `store` has written; the rest as in `Writer`."""

    label: str
    store: str
    open: Callable[[Path, Workload], Epoch]
    module: str = "numpy"
    ours: bool = False
    dtype: TokenDtype = "float16"

    @property
    def role(self) -> Role:
        """How tables and charts show it."""
        return "ours" if self.ours else "other"

    @property
    def installed(self) -> bool:
        """Whether the library is there."""
        return find_spec(self.module) is not None


def copying_from_memory(workload: Workload, threads: int) -> Callable[[], int]:
    """The ceiling: the records of each batch copied one by one, memory to memory.

    Each of the threads has every n-th batch and a buffer of its own, as those of `TokenLoader` do.
    """
    patches = workload.patches
    buffers = [np.zeros_like(workload.empty_batch()) for _ in range(threads)]
    pool = ThreadPoolExecutor(threads)

    def copy(thread: int) -> None:
        out = buffers[thread]
        for records in workload.order[thread::threads]:
            for row, record in enumerate(records.tolist()):
                out[row] = patches[record]

    def epoch() -> int:
        if threads == 1:
            copy(0)
        else:
            list(pool.map(copy, range(threads)))
        return workload.records

    return epoch


def own_epoch(folder: Path, workload: Workload, tier: Tier) -> Epoch:
    """`TokenLoader`: its first epoch has the workload's batches, mixed in a window when streaming.

    Streaming gets memory for half of the records, of which it mixes a part.
    """
    residency = Residency(tier, memory=workload.bytes // 2)
    loader = TokenLoader(open_store(folder), workload.batch, shuffle=True, residency=residency)

    def epoch() -> Batches:
        for batch in loader:
            assert batch.patches is not None
            yield batch.index.numpy(), batch.patches.numpy()

    return epoch


def row_by_row(shards: Sequence[np.ndarray], workload: Workload) -> Epoch:
    """Records copied one by one from mapped shards."""
    out = workload.empty_batch()

    def epoch() -> Batches:
        for records in workload.order:
            for row, record in enumerate(records.tolist()):
                shard, place = divmod(record, workload.shard)
                out[row] = shards[shard][place]
            yield records, out

    return epoch


def open_npy(folder: Path, workload: Workload) -> Epoch:
    """Memory maps, as plain arrays: indexing a `np.memmap` itself is slower."""
    return row_by_row([np.asarray(np.load(path, mmap_mode="r")) for path in files_in(folder)], workload)


def open_safetensors(folder: Path, workload: Workload) -> Epoch:
    """The mapped tensors, as arrays: faster than `safe_open(…).get_slice`."""
    return row_by_row(
        [safetensors.torch.load_file(path)["patches"].numpy() for path in files_in(folder)], workload
    )


def open_h5py(folder: Path, workload: Workload) -> Epoch:
    """One `read_direct` of the sorted records of each shard: faster than one for each record."""
    datasets = [h5py.File(path, "r")["patches"] for path in files_in(folder)]
    out = workload.empty_batch()

    def epoch() -> Batches:
        for records in np.sort(workload.order):
            ends = np.searchsorted(records, np.arange(1, workload.shards + 1) * workload.shard)
            first = 0
            for shard, end in enumerate(ends.tolist()):
                if first < end:
                    places = records[first:end] - shard * workload.shard
                    datasets[shard].read_direct(out, np.s_[places], np.s_[first:end])
                first = end
            yield records, out

    return epoch


def open_zarr(folder: Path, workload: Workload) -> Epoch:
    """Record by record, which is faster than `oindex` with the sorted batch."""
    array = zarr.open_array(folder, mode="r")
    out = workload.empty_batch()

    def epoch() -> Batches:
        for records in workload.order:
            for row, record in enumerate(records.tolist()):
                out[row] = array[record]
            yield records, out

    return epoch


def open_zarrs(folder: Path, workload: Workload) -> Epoch:
    """The same with the codecs in Rust; the array keeps the pipeline it is opened with."""
    with zarr.config.set(ZARRS_PIPELINE):
        return open_zarr(folder, workload)


def open_tensorstore(folder: Path, workload: Workload) -> Epoch:
    """All records of a batch at once, straight into it: faster than an index array, or `tensorstore.Batch`.

    The cache has room for the shards' indices.
    """
    import tensorstore

    context = tensorstore.Context({"cache_pool": {"total_bytes_limit": INDEX_CACHE_BYTES}})
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(folder)}}
    array = tensorstore.open(spec, context=context, read=True).result()
    out = workload.empty_batch()
    target = tensorstore.array(out)  # the same memory

    def epoch() -> Batches:
        for records in workload.order:
            copies = [target[row].write(array[record]) for row, record in enumerate(records.tolist())]
            for copy in copies:
                copy.result()
            yield records, out

    return epoch


def open_webdataset(folder: Path, workload: Workload) -> Epoch:
    """Shards in random order through a shuffle buffer; faster in this process than in workers."""
    import webdataset

    tars = [str(path) for path in files_in(folder)]
    dataset = (
        webdataset.WebDataset(tars, shardshuffle=len(tars))
        .shuffle(min(1000, workload.shard))
        .decode()
        .to_tuple("__key__", "npy")
        .batched(workload.batch)
    )

    def epoch() -> Batches:
        for keys, patches in dataset:
            yield np.array(keys, dtype=np.int64), patches

    return epoch


class FilePerImage(torch.utils.data.Dataset[torch.Tensor]):
    """Images by their number, one .pt file each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getitem__(self, record: int) -> torch.Tensor:
        path = self.folder / f"{record:08d}.pt"
        patches: torch.Tensor = torch.load(path, weights_only=True)
        return patches


def open_pt(folder: Path, workload: Workload) -> Epoch:
    """A stock DataLoader with two workers, which stay: faster than none."""
    loader = torch.utils.data.DataLoader(
        FilePerImage(folder), batch_sampler=workload.order.tolist(), num_workers=2, persistent_workers=True
    )

    def epoch() -> Batches:
        for records, patches in zip(workload.order, loader, strict=True):
            yield records, patches.numpy()

    return epoch


def _ours(engine: StoreFormat, tier: Tier, dtype: TokenDtype) -> Reader:
    label = f"ours, {engine} engine, {tier} tier{', int8' if dtype == 'int8' else ''}"
    return Reader(label, own_store_name(engine, dtype), partial(own_epoch, tier=tier), ours=True, dtype=dtype)


READERS = (
    *(_ours(engine, tier, "float16") for tier in get_args(Tier) for engine in ENGINES),
    *(_ours(engine, "host", "int8") for engine in ENGINES),
    Reader("numpy memmap", "npy", open_npy),
    Reader("safetensors, mapped", "safetensors", open_safetensors),
    Reader("h5py, sorted read_direct", "h5py", open_h5py),
    Reader("zarr-python", "zarr", open_zarr),
    Reader("zarr-python with zarrs", "zarr", open_zarrs, "zarrs"),
    Reader("tensorstore, zarr3", "zarr", open_tensorstore, "tensorstore"),
    Reader("webdataset (sequential, not random)", "webdataset", open_webdataset, "webdataset"),
    Reader(".pt per image, DataLoader of 2 workers", "pt", open_pt),
)

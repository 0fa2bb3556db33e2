"""Writing and reading a store, against what the disk, memory and the stock libraries do in the same run.

    python benchmarks/bench_store.py [--folder DIR]

Records of ViT-S/16 (196 × 384, float16, 150 KB). Writing: this package's shard writer, checksums and flushes
included, against plain large `write` calls with a flush, and zarr-python writing the same shards.
Reading, page cache warm, random batches of 256: `TokenLoader`, against copying the same batches from memory
to memory, and zarr-python and h5py reading them. Ratios carry over between machines; MB/s do not.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import zarr

from cache import (
    RECORD_ARRAYS,
    DatasetIdentity,
    SplitManifest,
    SplitReader,
    StoreFormat,
    TokenDataset,
    TokenLoader,
    open_split_writer,
    token_arrays,
)

TOKENS, DIM, SHARD, SHARDS, BATCH = 196, 384, 1024, 4, 256
RECORDS = SHARD * SHARDS
RECORD_BYTES = TOKENS * DIM * 2
ROUNDS = 5
PATCHES = "block11/patches"


def manifest(store_format: StoreFormat) -> SplitManifest:
    """A split of patches and labels."""
    arrays = token_arrays(
        11, num_tokens=TOKENS, num_prefix=0, dim=DIM, dtype="float16", views=1, normed_mean=False
    )
    return SplitManifest(
        dataset=DatasetIdentity(name="d", split=store_format, source="", fingerprint="", samples=RECORDS),
        classes=("a",),
        records=RECORDS,
        views=1,
        order="",
        format=store_format,
        shard_size=SHARD,
        arrays=(*(a for a in arrays if a.name == PATCHES), *RECORD_ARRAYS),
    )


def write_store(folder: Path, store_format: StoreFormat, shard: np.ndarray) -> None:
    """Write every shard in batches of 256 records."""
    with open_split_writer(folder, manifest(store_format)) as split:
        for number in split.unfinished():
            writer = split.begin(number)
            for first in range(0, SHARD, BATCH):
                writer.write(PATCHES, first, shard[np.newaxis, first : first + BATCH], minimum=0, maximum=1)
            for name in ("labels", "sample_id"):
                writer.write(name, 0, np.zeros(SHARD, dtype="<i8"))
            writer.commit()


def write_plain(folder: Path, shard: np.ndarray) -> None:
    """The same bytes with plain calls, 38 MB each, and a flush for each file."""
    for number in range(SHARDS):
        with (folder / f"plain{number}").open("wb", buffering=0) as file:
            for first in range(0, SHARD, BATCH):
                file.write(shard[first : first + BATCH].data)
            os.fsync(file.fileno())


def write_zarr(folder: Path, shard: np.ndarray) -> None:
    """The same array through zarr-python, one shard at a time."""
    array = zarr.create_array(
        folder / "stock.zarr",
        shape=(RECORDS, TOKENS, DIM),
        dtype="float16",
        chunks=(1, TOKENS, DIM),
        shards=(SHARD, TOKENS, DIM),
        compressors=None,
    )
    for number in range(SHARDS):
        array[number * SHARD : (number + 1) * SHARD] = shard


def seconds(work: Callable[[], None], rounds: int = ROUNDS) -> float:
    """Median seconds of `work`."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def report(name: str, taken: float, unit: float, size: float) -> None:
    """One line: MB/s, and the share of the yardstick's rate."""
    print(f"  {name:<34} {size / taken / 1e6:>9,.0f} MB/s   {unit / taken:7.3f} × the yardstick")


def bench_writing(folder: Path, shard: np.ndarray) -> None:
    size = RECORDS * RECORD_BYTES
    stores: tuple[StoreFormat, ...] = ("zarr", "hdf5")
    kinds: dict[str, Callable[[], None]] = {
        "plain write calls (yardstick)": lambda: write_plain(folder, shard),
        **{f"this package, {f}": lambda f=f: write_store(folder, f, shard) for f in stores},
        "zarr-python": lambda: write_zarr(folder, shard),
    }
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(3):
        for name, work in kinds.items():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            times[name].append(seconds(work, rounds=1))
    print(f"writing {size / 1e9:.2f} GB")
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    for name, taken in medians.items():
        report(name, taken, medians["plain write calls (yardstick)"], size)


def bench_reading(folder: Path, shard: np.ndarray) -> None:
    size = RECORDS * RECORD_BYTES
    memory = np.concatenate([shard] * SHARDS)
    order = np.random.default_rng(0).permutation(RECORDS).reshape(-1, BATCH)
    out = np.empty((BATCH, TOKENS, DIM), dtype=np.float16)

    def from_memory() -> None:
        for batch in order:
            for row, record in enumerate(batch.tolist()):
                np.copyto(out[row], memory[record])

    loaders: dict[str, TokenLoader] = {}
    for store_format in ("zarr", "hdf5"):
        write_store(folder, store_format, shard)
        dataset = TokenDataset(SplitReader(folder / "d" / store_format), 11, ["patches"])
        loaders[store_format] = TokenLoader(dataset, BATCH, shuffle=True)

    def through(loader: TokenLoader) -> None:
        for _ in loader:
            pass

    stock_zarr = zarr.open_array(folder / "d" / "zarr" / PATCHES, mode="r")
    stock_h5 = h5py.File(folder / "d" / "hdf5" / "split.h5")[PATCHES]
    few = order[:1]

    for loader in loaders.values():
        through(loader)  # warms the page cache
    unit = seconds(from_memory)
    print(f"reading random batches of {BATCH}, page cache warm")
    report("memory to memory (yardstick)", unit, unit, size)
    for name, loader in loaders.items():
        report(f"TokenLoader, {name}", seconds(lambda loader=loader: through(loader)), unit, size)
    share = len(few) / len(order)
    for name, read in (
        ("zarr-python", lambda: stock_zarr.oindex[0, np.sort(few[0])]),
        ("h5py", lambda: stock_h5[0, np.sort(few[0])]),
    ):
        read()  # warms its own caches
        report(f"{name} (one batch, repeated)", seconds(read, rounds=3) / share, unit, size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("bench_store.tmp"), help="made and removed")
    folder = parser.parse_args().folder
    if folder.exists():
        parser.error(f"{folder} exists: name a folder to make")
    shard = np.random.default_rng(0).random((SHARD, TOKENS, DIM), dtype=np.float32).astype(np.float16)
    try:
        bench_writing(folder, shard)
        shutil.rmtree(folder)
        folder.mkdir()
        bench_reading(folder, shard)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

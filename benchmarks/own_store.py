"""This package's store of a workload, written and opened through the public API."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from workload import Workload

from cache import (
    RECORD_ARRAYS,
    DatasetIdentity,
    Encoded,
    SplitManifest,
    SplitReader,
    StoreFormat,
    TokenDataset,
    TokenDtype,
    array_name,
    encode,
    open_split_writer,
    token_arrays,
)

ENGINES: tuple[StoreFormat, ...] = ("zarr", "hdf5")
BLOCK = 11
PATCHES = array_name(BLOCK, "patches")
DATASET, SPLIT = "bench", "train"
RANGE = torch.zeros(()), torch.ones(())


def _manifest(workload: Workload, store_format: StoreFormat, dtype: TokenDtype) -> SplitManifest:
    """A split of patches, their scales in int8, and labels."""
    arrays = token_arrays(
        BLOCK,
        num_tokens=workload.tokens,
        num_prefix=0,
        dim=workload.dim,
        dtype=dtype,
        views=1,
        normed_mean=False,
    )
    return SplitManifest(
        dataset=DatasetIdentity(
            name=DATASET, split=SPLIT, source="", fingerprint="", samples=workload.records
        ),
        classes=("only",),
        records=workload.records,
        views=1,
        order="",
        format=store_format,
        shard_size=workload.shard,
        arrays=(*(array for array in arrays if array.name.startswith(PATCHES)), *RECORD_ARRAYS),
    )


def _encoded(batch: np.ndarray, dtype: TokenDtype) -> Encoded:
    """A batch as extraction has it from the device: cast, and its range known. int8 is computed here."""
    tokens = torch.from_numpy(batch)
    return Encoded(tokens, *RANGE) if dtype == "float16" else encode(tokens, dtype)


def write_store(
    folder: Path, workload: Workload, store_format: StoreFormat, dtype: TokenDtype = "float16"
) -> None:
    """Write every shard in batches, as extraction does; checksums and flushes included."""
    with open_split_writer(folder, _manifest(workload, store_format, dtype)) as split:
        for shard in split.unfinished():
            writer = split.begin(shard)
            patches = workload.shard_patches(shard)
            for first in range(0, workload.shard, workload.batch):
                batch = patches[first : first + workload.batch]
                writer.write_encoded(PATCHES, first, _encoded(batch, dtype))
            for name in ("labels", "sample_id"):
                writer.write(name, 0, np.zeros(workload.shard, dtype="<i8"))
            writer.commit()


def own_store_name(engine: StoreFormat, dtype: TokenDtype) -> str:
    """The folder of a store among those of the others."""
    return f"ours {engine} {dtype}"


def stored_patches(workload: Workload, dtype: TokenDtype) -> np.ndarray:
    """What a store in `dtype` holds as patches, (records, N, D): values, or codes."""
    if dtype == "float16":
        return workload.patches
    batches = np.split(workload.patches, workload.records // workload.batch)
    return np.concatenate([_encoded(batch, dtype).tokens.numpy() for batch in batches])


def record_bytes(folder: Path) -> int:
    """Bytes of a stored record's patches, with their scales in int8."""
    return open_store(folder).record_bytes


def open_store(folder: Path) -> TokenDataset:
    """The patches of a written store, newly opened."""
    return TokenDataset(SplitReader(folder / DATASET / SPLIT), BLOCK, ["patches"])

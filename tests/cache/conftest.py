"""A small split to write, and the ways to write it and to look at its files."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch

from cache import (
    RECORD_ARRAYS,
    BackboneIdentity,
    BlockGeometry,
    DatasetIdentity,
    SplitManifest,
    StoreFormat,
    StoreManifest,
    TokenDtype,
    create_store,
    open_split_writer,
    token_arrays,
)

BLOCK = 3


def _split_manifest(
    *,
    format: StoreFormat = "zarr",
    dtype: TokenDtype = "float16",
    records: int = 10,
    shard_size: int = 4,
    views: int = 1,
    num_tokens: int = 3,
    num_prefix: int = 1,
    dim: int = 2,
    normed_mean: bool = True,
    split: str = "train",
    fingerprint: str = "f1",
) -> SplitManifest:
    """A split `digits/train` of two classes with one block, block 3."""
    arrays = token_arrays(
        BLOCK,
        num_tokens=num_tokens,
        num_prefix=num_prefix,
        dim=dim,
        dtype=dtype,
        views=views,
        normed_mean=normed_mean,
    )
    return SplitManifest(
        dataset=DatasetIdentity(
            name="digits", split=split, source="digits", fingerprint=fingerprint, samples=records
        ),
        classes=("cat", "dog"),
        records=records,
        views=views,
        order="permuted",
        format=format,
        shard_size=shard_size,
        arrays=arrays + RECORD_ARRAYS,
    )


def _split_values(manifest: SplitManifest, seed: int = 0) -> dict[str, np.ndarray]:
    """Every array of the split in its storage dtype, the same on every call."""
    generator = np.random.default_rng(seed)
    values = {}
    for spec in manifest.arrays:
        drawn = generator.standard_normal(spec.shape(manifest.records))
        if spec.dtype == "bfloat16":
            values[spec.name] = torch.from_numpy(drawn).to(torch.bfloat16).view(torch.uint16).numpy()
        else:
            values[spec.name] = drawn.astype(spec.storage_dtype)
    values["labels"] = np.arange(manifest.records, dtype=np.int64) % len(manifest.classes)
    values["sample_id"] = generator.permutation(manifest.records).astype(np.int64)
    return values


def _write_split(
    store: Path,
    manifest: SplitManifest,
    values: dict[str, np.ndarray] | None = None,
    *,
    batches: Sequence[int] = (3,),
    process: int = 0,
    processes: int = 1,
    shards: int | None = None,
) -> Path:
    """Write the unfinished shards (or the first `shards` of them), in batches of these sizes in turn."""
    values = _split_values(manifest) if values is None else values
    with open_split_writer(store, manifest, process=process, processes=processes) as split:
        for number in split.unfinished()[:shards]:
            shard = split.begin(number)
            try:
                for spec in manifest.arrays:
                    axis = 0 if spec.views is None else 1
                    first, sizes = 0, itertools.cycle(batches)
                    while first < shard.records:
                        last = min(first + next(sizes), shard.records)
                        taken = np.arange(shard.first + first, shard.first + last)
                        shard.write(spec.name, first, np.take(values[spec.name], taken, axis=axis))
                        first = last
            except BaseException:
                shard.abort()
                raise
            shard.commit()
    return split.folder


def _store_manifest(
    *, weights_sha256: str = "00ff", dtype: TokenDtype = "float16", versions: dict[str, str] | None = None
) -> StoreManifest:
    return StoreManifest(
        backbone=BackboneIdentity(
            name="tiny",
            source="bundled:tiny",
            weights_sha256=weights_sha256,
            transform={"input_size": [1, 4, 4]},
            precision="float32",
            prefix=("cls",),
            blocks=(BlockGeometry(grid=(1, 3), dim=2),) * (BLOCK + 1),
            final_norm=None,
        ),
        dtype=dtype,
        tokens="post",
        licence=None,
        versions=versions or {"torch": "1"},
    )


def _contents(folder: Path) -> dict[str, bytes]:
    """Every file under `folder`, by its path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextlib.contextmanager
def _forked(target: Callable[..., None], *arguments: object, **named: object) -> Iterator[BaseProcess]:
    """`target` in a forked process, which is killed at the end if it still runs."""
    process = get_context("fork").Process(target=target, args=arguments, kwargs=named, daemon=True)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


# fixtures that are functions, since the tests' folders are no packages to import helpers from


@pytest.fixture(scope="session")
def split_manifest() -> Callable[..., SplitManifest]:
    return _split_manifest


@pytest.fixture(scope="session")
def split_values() -> Callable[..., dict[str, np.ndarray]]:
    return _split_values


@pytest.fixture(scope="session")
def write_split() -> Callable[..., Path]:
    return _write_split


@pytest.fixture(scope="session")
def store_manifest() -> Callable[..., StoreManifest]:
    return _store_manifest


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, bytes]]:
    return _contents


@pytest.fixture(scope="session")
def forked() -> Callable[..., contextlib.AbstractContextManager[BaseProcess]]:
    return _forked


@pytest.fixture(scope="session")
def quick_folder() -> Path:
    """Where temporary folders are quick to make and to flush."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() else Path(tempfile.gettempdir())


@pytest.fixture(params=["zarr", "hdf5"])
def engine(request: pytest.FixtureRequest) -> StoreFormat:
    return request.param


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of the backbone `tiny`, still without splits."""
    folder = tmp_path / "tiny"
    create_store(folder, _store_manifest())
    return folder

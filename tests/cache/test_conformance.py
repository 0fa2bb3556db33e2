"""What stock `zarr` and `h5py` read of a store: the same suite for both engines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import zarr

from cache import SplitManifest, SplitReader, StoreFormat, TokenDataset, TokenDtype, encode

LAYOUTS: dict[str, dict[str, int]] = {
    "last shard of one record": {"views": 2, "records": 9, "shard_size": 4},
    "last shard partial": {"records": 7, "shard_size": 5},
    "whole shards, no prefix": {"records": 6, "shard_size": 3, "num_prefix": 0},
    "shards of one record": {"views": 3, "records": 2, "shard_size": 1},
    "shard larger than the split": {"records": 2, "shard_size": 5},
}
CASES = [
    pytest.param((engine, dtype, layout), id=f"{engine}-{dtype}-{layout}")
    for engine in ("zarr", "hdf5")
    for layout in LAYOUTS
    for dtype in ("float16", "bfloat16", "float32", "int8")
    if dtype == "float16" or layout == "last shard of one record"
]
TORCH = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "int8": torch.int8,
    "int64": torch.int64,
}


@dataclass(frozen=True)
class Written:
    """A split on disk, and what was given to its writer."""

    store: Path
    folder: Path
    manifest: SplitManifest
    values: dict[str, np.ndarray]


@pytest.fixture(scope="module", params=CASES)
def written(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    split_manifest: Callable[..., SplitManifest],
    split_values: Callable[..., dict[str, np.ndarray]],
    write_split: Callable[..., Path],
) -> Written:
    engine, dtype, layout = request.param
    manifest = split_manifest(format=engine, dtype=dtype, **LAYOUTS[layout])
    values = split_values(manifest)
    store = tmp_path_factory.mktemp("conformance")
    return Written(store, write_split(store, manifest, values), manifest, values)


def _stock_split(written: Written) -> dict[str, np.ndarray]:
    """Every array of the split, read by the stock library from the one place that shows them all."""
    names = [spec.name for spec in written.manifest.arrays]
    if written.manifest.format == "zarr":
        group = zarr.open_group(written.store, mode="r")
        return {name: group[f"digits/train/{name}"][:] for name in names}
    with h5py.File(written.folder / "split.h5") as file:
        return {name: file[name][:] for name in names}


def _stock_parts(written: Written) -> dict[str, np.ndarray]:
    """The same from the parts that a user may open alone: an array of zarr, a shard of HDF5."""
    specs = written.manifest.arrays
    if written.manifest.format == "zarr":
        return {spec.name: zarr.open_array(written.folder / spec.name, mode="r")[:] for spec in specs}
    parts: dict[str, list[np.ndarray]] = {spec.name: [] for spec in specs}
    for shard in range(written.manifest.shards):
        with h5py.File(written.folder / "shards" / f"{shard:05d}.h5") as file:
            for spec in specs:
                parts[spec.name].append(file[spec.name][:])
    return {
        spec.name: np.concatenate(parts[spec.name], axis=0 if spec.views is None else 1) for spec in specs
    }


def _assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def test_stock_library_reads_the_split_as_it_was_written(written: Written) -> None:
    stock = _stock_split(written)
    for spec in written.manifest.arrays:
        _assert_same(stock[spec.name], written.values[spec.name])


def test_stock_library_reads_each_part_as_it_was_written(written: Written) -> None:
    stock = _stock_parts(written)
    for spec in written.manifest.arrays:
        _assert_same(stock[spec.name], written.values[spec.name])


def test_split_reader_reads_what_the_stock_library_reads(written: Written) -> None:
    stock, reader = _stock_split(written), SplitReader(written.folder)
    for spec in written.manifest.arrays:
        for view in range(spec.runs):
            expected = stock[spec.name] if spec.views is None else stock[spec.name][view]
            _assert_same(np.asarray(reader.whole(spec.name, view)), expected)


def test_token_dataset_gives_what_the_stock_library_reads(written: Written) -> None:
    stock = _stock_split(written)
    kinds = [spec.name.split("/")[1] for spec in written.manifest.arrays if "/" in spec.name]
    items = list(range(written.manifest.records))[::-1]
    for view in range(written.manifest.views):
        batch = TokenDataset(SplitReader(written.folder), 3, kinds, view).__getitems__(items)
        assert batch.labels.tolist() == stock["labels"][items].tolist()
        for kind in kinds:
            spec = written.manifest.array(f"block3/{kind}")
            expected = torch.from_numpy(stock[spec.name][view][items]).view(TORCH[spec.dtype])
            assert torch.equal(getattr(batch, kind), expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "int8"])
def test_hdf5_datasets_are_contiguous_and_aligned_to_pages(
    tmp_path: Path,
    dtype: TokenDtype,
    split_manifest: Callable[..., SplitManifest],
    write_split: Callable[..., Path],
) -> None:
    manifest = split_manifest(format="hdf5", dtype=dtype, views=2)
    folder = write_split(tmp_path, manifest)
    for shard in range(manifest.shards):
        with h5py.File(folder / "shards" / f"{shard:05d}.h5") as file:
            for spec in manifest.arrays:
                assert file[spec.name].chunks is None
                assert file[spec.name].id.get_offset() % 4096 == 0


def test_zarr_chunk_of_patches_is_one_record(
    tmp_path: Path, split_manifest: Callable[..., SplitManifest], write_split: Callable[..., Path]
) -> None:
    folder = write_split(tmp_path, split_manifest(views=2, shard_size=4))
    patches = zarr.open_array(folder / "block3/patches", mode="r")
    assert patches.chunks == (1, 1, 3, 2)
    assert patches.shards == (1, 4, 3, 2)


def test_zarr_says_which_unsigned_integers_are_bfloat16(
    tmp_path: Path, split_manifest: Callable[..., SplitManifest], write_split: Callable[..., Path]
) -> None:
    folder = write_split(tmp_path, split_manifest(dtype="bfloat16"))
    assert zarr.open_array(folder / "block3/patches", mode="r").attrs["dtype"] == "bfloat16"


def test_stock_libraries_read_int8_tokens_as_codes_times_scales(
    tmp_path: Path,
    engine: StoreFormat,
    split_manifest: Callable[..., SplitManifest],
    split_values: Callable[..., dict[str, np.ndarray]],
    write_split: Callable[..., Path],
) -> None:
    manifest = split_manifest(format=engine, dtype="int8", dim=130)
    values = split_values(manifest)
    tokens = torch.randn(1, 10, 3, 130, generator=torch.Generator().manual_seed(0))
    encoded = encode(tokens, "int8")
    assert encoded.scales is not None
    values["block3/patches"] = encoded.tokens.numpy()
    values["block3/patches_scale"] = encoded.scales.numpy()
    folder = write_split(tmp_path, manifest, values)
    stock = _stock_split(Written(tmp_path, folder, manifest, values))
    codes, scales = stock["block3/patches"], stock["block3/patches_scale"]
    assert (codes.dtype, scales.dtype) == (np.int8, np.float16)
    of_tokens, of_channels = np.split(scales.astype(np.float32), [3], axis=-1)
    by_hand = codes * of_channels[..., None, :] * of_tokens[..., None]
    batch = TokenDataset(SplitReader(folder), 3, ["patches"]).__getitems__(range(10))
    np.testing.assert_array_equal(batch.decoded("patches"), by_hand[0])
    np.testing.assert_allclose(by_hand, tokens, atol=0.02)


def test_views_of_an_incomplete_split_still_open(
    tmp_path: Path,
    engine: StoreFormat,
    split_manifest: Callable[..., SplitManifest],
    split_values: Callable[..., dict[str, np.ndarray]],
    write_split: Callable[..., Path],
) -> None:
    manifest = split_manifest(format=engine, shard_size=4)
    values = split_values(manifest)
    folder = write_split(tmp_path, manifest, values, shards=1)
    stock = _stock_split(Written(tmp_path, folder, manifest, values))
    _assert_same(stock["block3/patches"][:, :4], values["block3/patches"][:, :4])

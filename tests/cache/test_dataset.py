"""`TokenDataset` under the stock `DataLoader`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler

from cache import SplitManifest, SplitReader, StoreFormat, TokenDataset
from configs import UserError

SplitOf = Callable[..., SplitManifest]
ValuesOf = Callable[..., dict[str, np.ndarray]]
Writing = Callable[..., Path]
KINDS = ("patches", "prefix", "mean", "mean_normed")
TORCH = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "int8": torch.int8,
}


@pytest.fixture
def values(engine: StoreFormat, split_manifest: SplitOf, split_values: ValuesOf) -> dict[str, np.ndarray]:
    return split_values(split_manifest(format=engine))


@pytest.fixture
def dataset(
    store: Path,
    engine: StoreFormat,
    values: dict[str, np.ndarray],
    split_manifest: SplitOf,
    write_split: Writing,
) -> TokenDataset:
    """All arrays of ten records in three shards, each record with a label."""
    folder = write_split(store, split_manifest(format=engine), values)
    return TokenDataset(SplitReader(folder), 3, KINDS)


def test_one_item_is_a_batch_of_one(dataset: TokenDataset, values: dict[str, np.ndarray]) -> None:
    batch = dataset[7]
    assert len(batch) == 1
    np.testing.assert_array_equal(batch.patches, values["block3/patches"][0, [7]])


def _assert_whole(dataset: TokenDataset, values: dict[str, np.ndarray], start: str | None) -> None:
    """The stock loader, its workers started by `start`, gives every record of every array."""
    loader = DataLoader(
        dataset,
        batch_size=4,
        num_workers=2 if start else 0,
        multiprocessing_context=start,
        collate_fn=TokenDataset.collate,
    )
    batches = list(loader)
    assert [len(batch) for batch in batches] == [4, 4, 2]
    for kind in KINDS:
        found = torch.cat([getattr(batch, kind) for batch in batches])
        np.testing.assert_array_equal(found, values[f"block3/{kind}"][0])
    assert torch.cat([batch.labels for batch in batches]).tolist() == values["labels"].tolist()
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(10))


@pytest.mark.parametrize("start", [None, "fork"])
def test_stock_loader_gives_every_record_of_every_array(
    dataset: TokenDataset, values: dict[str, np.ndarray], start: str | None
) -> None:
    _assert_whole(dataset, values, start)


@pytest.mark.parametrize("engine", ["hdf5"])
def test_spawned_workers_give_every_record_of_every_array(
    dataset: TokenDataset, values: dict[str, np.ndarray]
) -> None:
    _assert_whole(dataset, values, "spawn")


def test_stock_loader_shuffles(dataset: TokenDataset) -> None:
    loader = DataLoader(
        dataset,
        batch_size=3,
        shuffle=True,
        generator=torch.Generator().manual_seed(0),
        collate_fn=TokenDataset.collate,
    )
    index = torch.cat([batch.index for batch in loader]).tolist()
    assert index != list(range(10))
    assert sorted(index) == list(range(10))


def test_distributed_sampler_deals_out_every_record_once(dataset: TokenDataset) -> None:
    seen = []
    for rank in (0, 1):
        sampler = DistributedSampler(dataset, num_replicas=2, rank=rank, shuffle=True, seed=5)
        loader = DataLoader(dataset, batch_size=2, sampler=sampler, collate_fn=TokenDataset.collate)
        seen.append(torch.cat([batch.index for batch in loader]).tolist())
    assert [len(index) for index in seen] == [5, 5]
    assert sorted(seen[0] + seen[1]) == list(range(10))


@pytest.mark.parametrize("dtype", TORCH)
def test_tokens_come_in_the_dtype_that_is_stored(
    store: Path, engine: StoreFormat, dtype: str, split_manifest: SplitOf, write_split: Writing
) -> None:
    folder = write_split(store, split_manifest(format=engine, dtype=dtype))
    batch = TokenDataset(SplitReader(folder), 3, KINDS)[0]
    assert batch.patches.dtype == TORCH[dtype]
    assert batch.prefix.dtype == (torch.float16 if dtype == "int8" else TORCH[dtype])
    assert {batch.mean.dtype, batch.mean_normed.dtype} == {torch.float32}


def test_bfloat16_tokens_have_the_value_that_was_stored(
    store: Path, engine: StoreFormat, split_manifest: SplitOf, split_values: ValuesOf, write_split: Writing
) -> None:
    manifest = split_manifest(format=engine, dtype="bfloat16")
    values = split_values(manifest)
    values["block3/patches"][0, 4] = 0xC040  # sign 1, exponent 128, mantissa 1.5
    folder = write_split(store, manifest, values)
    assert TokenDataset(SplitReader(folder), 3, ["patches"])[4].patches.unique().tolist() == [-3.0]


def test_records_left_out_are_no_items(
    store: Path, engine: StoreFormat, split_manifest: SplitOf, split_values: ValuesOf, write_split: Writing
) -> None:
    manifest = split_manifest(format=engine)
    values = split_values(manifest)
    values["labels"][[0, 5, 9]] = -1
    dataset = TokenDataset(SplitReader(write_split(store, manifest, values)), 3, ["patches"])
    batch = dataset.__getitems__(range(len(dataset)))
    assert batch.index.tolist() == [1, 2, 3, 4, 6, 7, 8]
    assert batch.labels.min() >= 0
    np.testing.assert_array_equal(batch.patches, values["block3/patches"][0, batch.index])


def test_split_of_records_left_out_is_refused(
    store: Path, engine: StoreFormat, split_manifest: SplitOf, split_values: ValuesOf, write_split: Writing
) -> None:
    manifest = split_manifest(format=engine)
    values = split_values(manifest)
    values["labels"][:] = -1
    reader = SplitReader(write_split(store, manifest, values))
    with pytest.raises(UserError, match="digits/train holds no readable image: all 10 were left out"):
        TokenDataset(reader, 3, ["patches"])


def test_view_is_the_one_asked_for(
    store: Path, engine: StoreFormat, split_manifest: SplitOf, split_values: ValuesOf, write_split: Writing
) -> None:
    manifest = split_manifest(format=engine, views=3)
    values = split_values(manifest)
    reader = SplitReader(write_split(store, manifest, values))
    for view in range(3):
        batch = TokenDataset(reader, 3, ["mean"], view).__getitems__([8, 0])
        np.testing.assert_array_equal(batch.mean, values["block3/mean"][view, [8, 0]])


def test_missing_view_is_refused_before_any_batch(dataset: TokenDataset) -> None:
    with pytest.raises(UserError, match="not view 1"):
        TokenDataset(dataset.split, 3, ["mean"], view=1)


def test_arrays_not_asked_for_are_absent(dataset: TokenDataset) -> None:
    batch = TokenDataset(dataset.split, 3, ["mean"])[0]
    assert (batch.patches, batch.prefix, batch.mean_normed) == (None, None, None)
    assert batch.mean.shape == (1, 2)


def test_verified_records_read_as_they_were_written(
    dataset: TokenDataset, values: dict[str, np.ndarray]
) -> None:
    verified = TokenDataset(dataset.split, 3, KINDS, verify=True)
    for item in range(10):
        assert torch.equal(verified[item].patches, dataset[item].patches)


@pytest.mark.parametrize("name", ["labels", "block3/patches", "block3/mean"])
def test_a_damaged_record_is_refused_as_it_is_read(dataset: TokenDataset, name: str) -> None:
    split = dataset.split
    extent = split.engine.extents(1)[name, 0]
    content = bytearray(extent.path.read_bytes())
    content[extent.offset + 2 * split.manifest.array(name).record_bytes] ^= 1
    extent.path.write_bytes(content)
    with pytest.raises(UserError, match=f"record 6 of {name} is damaged .shard 1."):
        TokenDataset(SplitReader(split.folder), 3, KINDS, verify=True)[6]


@pytest.fixture
def int8_split(
    store: Path,
    engine: StoreFormat,
    split_manifest: SplitOf,
    split_values: ValuesOf,
    write_split: Writing,
) -> tuple[SplitReader, dict[str, np.ndarray]]:
    """Ten records of int8 tokens, and their values."""
    manifest = split_manifest(format=engine, dtype="int8")
    values = split_values(manifest)
    return SplitReader(write_split(store, manifest, values)), values


def test_int8_tokens_come_with_their_scales(int8_split: tuple[SplitReader, dict[str, np.ndarray]]) -> None:
    reader, values = int8_split
    batch = TokenDataset(reader, 3, ["patches", "prefix"]).__getitems__([7, 2])
    assert batch.patches_scale is not None
    assert batch.patches_scale.dtype == torch.float16
    for kind in ("patches", "patches_scale", "prefix"):
        np.testing.assert_array_equal(getattr(batch, kind), values[f"block3/{kind}"][0, [7, 2]])


def test_scales_of_arrays_not_asked_for_are_absent(
    int8_split: tuple[SplitReader, dict[str, np.ndarray]],
) -> None:
    reader, _ = int8_split
    assert TokenDataset(reader, 3, ["mean"])[0].patches_scale is None
    batch = TokenDataset(reader, 3, ["prefix"])[0]
    assert (batch.patches, batch.patches_scale) == (None, None)


def test_a_damaged_scale_is_refused_as_it_is_read(
    int8_split: tuple[SplitReader, dict[str, np.ndarray]],
) -> None:
    reader, name = int8_split[0], "block3/patches_scale"
    extent = reader.engine.extents(1)[name, 0]
    content = bytearray(extent.path.read_bytes())
    content[extent.offset + 2 * reader.manifest.array(name).record_bytes] ^= 1
    extent.path.write_bytes(content)
    with pytest.raises(UserError, match=f"record 6 of {name} is damaged .shard 1."):
        TokenDataset(SplitReader(reader.folder), 3, ["patches", "prefix"], verify=True)[6]

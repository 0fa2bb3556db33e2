"""Every damage is found, and its file named."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cache import FinalNorm, SplitManifest, Store, StoreFormat, create_store
from cache.manifest import MANIFEST
from cache.verify import Damage, verify_store
from configs import UserError

SplitOf = Callable[..., SplitManifest]

DESCRIBING = {
    "zarr": ["zarr.json", "digits/train/block3/patches/zarr.json"],
    "hdf5": ["digits/train/split.h5"],
}
SHARD_FILES = {
    "zarr": [
        "digits/train/block3/patches/c/1/1/0/0",
        "digits/train/block3/mean/c/0/2/0",
        "digits/train/labels/c/2",
    ],
    "hdf5": ["digits/train/shards/00001.h5"],
}
EVERYWHERE = [
    MANIFEST,
    "final_norm.safetensors",
    "digits/train/manifest.json",
    "digits/train/shards/00001.json",
]


@pytest.fixture(params=["zarr", "hdf5"])
def engine(request: pytest.FixtureRequest) -> StoreFormat:
    return request.param


@pytest.fixture
def store(
    tmp_path: Path,
    engine: StoreFormat,
    split_manifest: SplitOf,
    store_manifest: Callable,
    write_split: Callable,
) -> Path:
    """A store with a final norm, of three shards (the last one partial), two views of everything."""
    norm = FinalNorm("layer_norm", 1e-6, torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.0]))
    manifest = store_manifest()
    backbone = manifest.backbone.model_copy(update={"final_norm": norm.description})
    create_store(tmp_path / "store", manifest.model_copy(update={"backbone": backbone}))
    norm.save(tmp_path / "store")
    write_split(tmp_path / "store", split_manifest(format=engine, views=2))
    return tmp_path / "store"


def damages(store: Path) -> list[Damage]:
    return list(verify_store(Store(store), 2, lambda _: None))


def names(store: Path) -> list[str]:
    """Damaged files; an unreadable manifest of the store itself counts as one."""
    try:
        return [damage.path.relative_to(store).as_posix() for damage in damages(store)]
    except UserError:
        return [MANIFEST]


def test_a_sound_store_has_no_damage(store: Path) -> None:
    assert damages(store) == []


def test_a_shard_that_is_not_stored_yet_is_no_damage(store: Path) -> None:
    (store / "digits/train/shards/00001.json").unlink()
    assert damages(store) == []


def test_every_file_but_the_lock_is_looked_at(store: Path, engine: StoreFormat) -> None:
    found = {p.relative_to(store).as_posix() for p in store.rglob("*") if p.is_file() and p.name != ".lock"}
    for name in sorted(found):
        content = (store / name).read_bytes()
        (store / name).write_bytes(content[:-1])
        assert names(store) != [], name
        (store / name).write_bytes(content)


@pytest.mark.parametrize("seed", range(12))
def test_a_flipped_bit_anywhere_is_found(store: Path, engine: StoreFormat, seed: int) -> None:
    chance = random.Random(seed)
    for name in EVERYWHERE + DESCRIBING[engine] + SHARD_FILES[engine]:
        sound = (store / name).read_bytes()
        damaged = bytearray(sound)
        place = chance.randrange(len(sound))
        damaged[place] ^= 1 << chance.randrange(8)
        (store / name).write_bytes(damaged)
        assert names(store) != [], (name, place)
        (store / name).write_bytes(sound)


def test_a_damaged_record_is_named(store: Path, engine: StoreFormat) -> None:
    split = Store(store).split("digits", "train")
    extent = split.engine.extents(1)["block3/patches", 1]
    record_bytes = split.manifest.array("block3/patches").record_bytes
    content = bytearray(extent.path.read_bytes())
    content[extent.offset + 2 * record_bytes] ^= 4
    extent.path.write_bytes(content)
    (damage,) = damages(store)
    assert damage == Damage(extent.path, "has 1 damaged record(s) of block3/patches: 6", shard=1)


def test_truncated_and_missing_files_are_told_apart(store: Path, engine: StoreFormat) -> None:
    path = store / SHARD_FILES[engine][0]
    path.write_bytes(path.read_bytes()[:-1])
    (damage,) = damages(store)
    assert "bytes, not" in damage.what
    path.unlink()
    assert damages(store) == [Damage(path, "is missing", shard=1)]


def test_two_shards_that_changed_places_are_both_found(store: Path, engine: StoreFormat) -> None:
    files = {"zarr": "block3/patches/c/0/{}/0/0", "hdf5": "shards/0000{}.h5"}[engine]
    first, second = (store / "digits/train" / files.format(shard) for shard in (0, 1))
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    assert {damage.path for damage in damages(store)} == {first, second}


def test_shard_records_that_changed_places_are_both_found(store: Path) -> None:
    first, second = (store / f"digits/train/shards/0000{shard}.json" for shard in (0, 1))
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    assert {damage.path for damage in damages(store)} == {first, second}


def test_manifests_of_two_splits_that_changed_places_are_found(
    store: Path, engine: StoreFormat, split_manifest: SplitOf, write_split: Callable[..., Path]
) -> None:
    write_split(store, split_manifest(format=engine, views=2, split="test"))
    first, second = (store / "digits" / split / MANIFEST for split in ("train", "test"))
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    assert {damage.path for damage in damages(store)} == {first, second}


def test_a_record_of_a_split_with_other_arrays_is_found(
    store: Path, engine: StoreFormat, split_manifest: SplitOf, write_split: Callable[..., Path]
) -> None:
    write_split(store, split_manifest(format=engine, views=2, split="test", normed_mean=False))
    ours, theirs = (store / "digits" / split / "shards/00001.json" for split in ("train", "test"))
    ours.write_bytes(theirs.read_bytes())
    assert ours in {damage.path for damage in damages(store)}


def test_a_record_of_a_split_of_the_same_shape_is_found(
    store: Path, engine: StoreFormat, split_manifest: SplitOf, write_split: Callable[..., Path]
) -> None:
    write_split(store, split_manifest(format=engine, views=2, split="test"))
    ours, theirs = (store / "digits" / split / "shards/00001.json" for split in ("train", "test"))
    ours.write_bytes(theirs.read_bytes())
    assert {damage.path for damage in damages(store)} == {ours}

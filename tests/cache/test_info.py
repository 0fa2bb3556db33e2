from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cache import Augmentation, SplitManifest, Store, StoreFormat, open_split_writer
from cache.info import print_info, split_info, store_info

SplitOf = Callable[..., SplitManifest]
ValuesOf = Callable[..., dict[str, np.ndarray]]
Writing = Callable[..., Path]


@pytest.fixture
def filled(
    store: Path, engine: StoreFormat, split_manifest: SplitOf, split_values: ValuesOf, write_split: Writing
) -> Path:
    """The store with a complete split `train`, one record left out, and an incomplete `test`."""
    manifest = split_manifest(format=engine, records=10)
    values = split_values(manifest)
    values["labels"][:] = [0, 0, 0, 1, -1, 0, 1, 1, 0, 0]
    write_split(store, manifest, values)
    write_split(store, split_manifest(format=engine, split="test", records=8), shards=1)
    return store


def test_images_of_each_class_are_counted(filled: Path) -> None:
    assert split_info(Store(filled).split("digits", "train"))["images_per_class"] == [
        {"class": 0, "name": "cat", "images": 6},
        {"class": 1, "name": "dog", "images": 3},
    ]


def test_classes_that_share_a_name_are_counted_apart(
    store: Path,
    engine: StoreFormat,
    split_manifest: SplitOf,
    write_split: Writing,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = {"classes": ("crane", "crane")}  # a bird and a machine
    write_split(store, split_manifest(format=engine, records=9).model_copy(update=named))
    info = store_info(Store(store))
    assert info["splits"]["digits/train"]["images_per_class"] == [
        {"class": 0, "name": "crane", "images": 5},
        {"class": 1, "name": "crane", "images": 4},
    ]
    monkeypatch.setenv("COLUMNS", "200")
    print_info(info)
    assert "2 × 4–5" in capsys.readouterr().out


def test_what_made_the_views_of_a_split_is_told(
    store: Path,
    engine: StoreFormat,
    split_manifest: SplitOf,
    write_split: Writing,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = Augmentation(name="rrc_mild", seed=7)
    manifest = split_manifest(format=engine, records=8, views=3).model_copy(update={"augmentation": made})
    write_split(store, manifest)
    write_split(store, split_manifest(format=engine, split="test", records=8))
    info = store_info(Store(store))
    found = {name: (split["views"], split["augmentation"]) for name, split in info["splits"].items()}
    plain = (1, None)
    assert found == {"digits/train": (3, {"name": "rrc_mild", "seed": 7}), "digits/test": plain}
    monkeypatch.setenv("COLUMNS", "200")
    print_info(info)
    assert "3: the plain one, then rrc_mild, seed 7" in capsys.readouterr().out


def test_records_left_out_count_for_no_class(
    store: Path, engine: StoreFormat, split_manifest: SplitOf, split_values: ValuesOf, write_split: Writing
) -> None:
    manifest = split_manifest(format=engine, records=4)
    values = split_values(manifest)
    values["labels"][:] = [0, -1, 0, -1]
    write_split(store, manifest, values)
    (cats,) = split_info(Store(store).split("digits", "train"))["images_per_class"]
    assert cats["images"] == 2


def test_incomplete_split_tells_what_is_stored(filled: Path) -> None:
    info = split_info(Store(filled).split("digits", "test"))
    assert (info["shards_stored"], info["shards"]) == (1, 2)
    assert [held["images"] for held in info["images_per_class"]] == [2, 2]


def test_split_without_a_shard_has_no_classes_yet(
    store: Path, engine: StoreFormat, split_manifest: SplitOf, write_split: Writing
) -> None:
    write_split(store, split_manifest(format=engine), shards=0)
    assert split_info(Store(store).split("digits", "train"))["images_per_class"] == []


def test_skipped_records_are_counted(store: Path, engine: StoreFormat, split_manifest: SplitOf) -> None:
    manifest = split_manifest(format=engine, records=2, shard_size=2)
    with open_split_writer(store, manifest) as split:
        shard = split.begin(0)
        for spec in manifest.arrays:
            shard.write(spec.name, 0, np.zeros(spec.shape(2), spec.storage_dtype))
        shard.skip(1, "a.jpg: truncated")
        shard.commit()
    assert split_info(Store(store).split("digits", "train"))["left_out"] == 1


def test_bytes_are_those_on_disk(filled: Path) -> None:
    folder = filled / "digits/train"
    on_disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert split_info(Store(filled).split("digits", "train"))["bytes"] == on_disk


def test_arrays_are_told_with_dtype_and_shape(filled: Path) -> None:
    arrays = store_info(Store(filled))["splits"]["digits/train"]["arrays"]
    assert arrays["block3/patches"] == {"dtype": "float16", "shape": (1, 10, 3, 2)}
    assert arrays["labels"] == {"dtype": "int64", "shape": (10,)}


def test_tables_name_backbone_splits_and_arrays(
    filled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    print_info(store_info(Store(filled)))
    printed = capsys.readouterr().out
    for words in ("tiny (bundled:tiny)", "00ff", "digits/train", "3/3", "1/2", "2 × 3–6", "1×10×3×2"):
        assert words in printed


def test_store_without_splits_is_printed(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    print_info(store_info(Store(store)))
    assert "tiny (bundled:tiny)" in capsys.readouterr().out

"""`extract --views`: the same bytes however they are computed, and a store that says what it holds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cache import Store, verify_store
from configs import UserError
from extract.command import extract
from extract.options import ExtractOptions
from extract.repair_command import RepairOptions, repair

VIEWS = {"views": 3, "augment": "rrc_flip"}


def _extract(store: Path, **changes: object) -> Path:
    settings = {"backbone": "mae_digits", "dataset": "digits", "limit": 40, "shard_size": 16, "workers": 0}
    extract(ExtractOptions(**{**settings, "batch_size": 8, "out": store, **changes}))
    return store


def _bytes(store: Path) -> dict[str, bytes]:
    return {str(p.relative_to(store)): p.read_bytes() for p in sorted(store.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module", params=[("zarr", "float16"), ("hdf5", "int8")], ids="-".join)
def views(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty digits of each split, those of the training split in three views. Do not change it."""
    store = tmp_path_factory.mktemp("views") / "store"
    return _extract(store, format=request.param[0], dtype=request.param[1], **VIEWS)


def _again(store: Path, views: Path, /, **changes: object) -> Path:
    """Extract as `views` was."""
    manifest = Store(views).split("digits", "train").manifest
    kept = {"format": manifest.format, "dtype": Store(views).manifest.dtype}
    return _extract(store, **{**VIEWS, **kept, **changes})


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_gives_the_same_bytes(views: Path, tmp_path: Path, workers: int) -> None:
    assert _bytes(_again(tmp_path / "again", views, workers=workers, split="train")).items() <= (
        _bytes(views).items()
    )


def test_a_resumed_run_ends_in_the_same_bytes(views: Path, tmp_path: Path) -> None:
    store = shutil.copytree(views, tmp_path / "store")
    (store / "digits/train/shards/00001.json").unlink()
    for path in (store / "digits/train").rglob("*"):
        if path.is_file() and "/c/0/1/" in path.as_posix():
            path.unlink()
    _again(store, views)
    assert _bytes(store) == _bytes(views)


def test_the_first_view_is_what_a_store_without_views_holds(views: Path, tmp_path: Path) -> None:
    plain = Store(_again(tmp_path / "plain", views, views=1, augment=None)).split("digits", "train")
    several = Store(views).split("digits", "train")
    assert (plain.manifest.views, several.manifest.views) == (1, 3)
    for array in plain.manifest.arrays:
        assert np.array_equal(several.whole(array.name), plain.whole(array.name)), array.name
    first, second = (several.whole("block5/mean", view) for view in (1, 2))
    assert not np.isclose(first, second).all(axis=1).any()


def test_the_evaluation_split_keeps_one_view(views: Path) -> None:
    manifest = Store(views).split("digits", "test").manifest
    assert manifest.views == 1
    assert "augmentation" not in json.loads((views / "digits/test/manifest.json").read_text())


def test_every_view_is_verified(views: Path) -> None:
    assert list(verify_store(Store(views), 1, lambda _: None)) == []


@pytest.mark.parametrize("view", [0, 2])
def test_damage_in_any_view_is_mended_to_the_byte(views: Path, tmp_path: Path, view: int) -> None:
    store = shutil.copytree(views, tmp_path / "store")
    extent = Store(store).split("digits", "train").extent("block5/patches", 1, view)
    content = bytearray(extent.path.read_bytes())
    content[extent.offset + 5] ^= 1
    extent.path.write_bytes(content)
    assert len(list(verify_store(Store(store), 1, lambda _: None))) == 1
    repair(RepairOptions(path=store, backbone="mae_digits", dataset="digits", workers=0, batch_size=8))
    assert _bytes(store) == _bytes(views)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"views": 2}, r"another views \(3 there, 2 here\)"),
        ({"augment_seed": 4}, r"another augmentation\.seed \(0 there, 4 here\)"),
        ({"views": 1, "augment": None}, r"another views \(3 there, 1 here\)"),
    ],
)
def test_other_views_are_refused_by_name(views: Path, changes: dict[str, object], named: str) -> None:
    with pytest.raises(UserError, match=named):
        _again(views, views, **changes)


@pytest.mark.parametrize("alone", [{"views": 2}, {"augment": "rrc_flip"}])
def test_views_and_their_augmentation_are_given_together(tmp_path: Path, alone: dict[str, object]) -> None:
    with pytest.raises(UserError, match="--augment go together"):
        _extract(tmp_path / "store", **alone)


def test_views_without_a_training_split_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="for training splits"):
        _extract(tmp_path / "store", split="test", **VIEWS)


def test_a_seed_of_views_without_views_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--augment-seed draws augmented views: give --views and --augment"):
        _extract(tmp_path / "store", augment_seed=0)

"""`--batch-size auto`, and what a store keeps of how its batches were computed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cache import Store
from configs import UserError
from extract import computation
from extract.backbone import Backbone
from extract.batch_size import fastest_batch_size
from extract.command import extract
from extract.open_backbone import open_backbone
from extract.options import ExtractOptions
from extract.part import Part
from extract.planning.image_rates import backbone_rate
from extract.planning.work import plan_work
from extract.repair_command import RepairOptions, repair

FITS = 4


def _seconds(*, fits: int, gains_until: int) -> Callable[[int], float]:
    """A device that holds `fits` images, and on which larger batches are faster up to `gains_until`."""

    def seconds(size: int) -> float:
        if size > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return max(size, gains_until) * 1e-3

    return seconds


@pytest.mark.parametrize(
    ("fits", "gains_until", "most", "found"),
    [
        (1024, 64, 512, 64),  # no faster beyond
        (100, 512, 512, 64),  # no more memory
        (1024, 1024, 512, 512),  # the largest that is tried
        (1024, 1024, 100, 64),  # no more records in a shard
        (5, 512, 512, 4),  # the first size does not fit
        (1, 512, 512, 1),
        (1024, 512, 3, 2),
    ],
)
def test_batches_grow_while_they_get_faster_and_fit(
    fits: int, gains_until: int, most: int, found: int
) -> None:
    assert fastest_batch_size(_seconds(fits=fits, gains_until=gains_until), most) == found


def test_a_library_that_gets_no_memory_means_that_a_batch_does_not_fit() -> None:
    def seconds(size: int) -> float:
        if size > FITS:
            raise RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")
        return 1e-3

    assert fastest_batch_size(seconds, 512) == FITS


def test_another_error_is_not_taken_for_a_batch_that_does_not_fit() -> None:
    def seconds(size: int) -> float:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        fastest_batch_size(seconds, 512)


def test_a_device_that_does_not_hold_one_image_is_told() -> None:
    with pytest.raises(UserError, match="does not hold one image's pass"):
        fastest_batch_size(_seconds(fits=0, gains_until=1), 512)


def _extract(store: Path, **changes: object) -> None:
    settings = {
        "backbone": "mae_digits",
        "dataset": "digits",
        "split": "train",
        "limit": 40,
        "shard_size": 16,
    }
    extract(ExtractOptions(**{**settings, "workers": 0, "out": store, **changes}))


def _recorded(store: Path) -> Any:
    return Store(store).split("digits", "train").manifest.computation


def _bytes(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def _damage(store: Path) -> None:
    path = store / "digits/train/block5/patches/c/0/0/0/0"
    path.write_bytes(bytes(100) + path.read_bytes()[100:])


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Passes of more than FITS images run out of memory. Gives the sizes of all that were begun."""
    forward, sizes = Backbone.forward, []

    def limited(self: Backbone, images: torch.Tensor, blocks: Any) -> Any:
        sizes.append(len(images))
        if len(images) > FITS:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, images, blocks)

    monkeypatch.setattr(Backbone, "forward", limited)
    return sizes


def test_the_size_found_fits_and_is_recorded(tmp_path: Path, little_memory: list[int]) -> None:
    _extract(tmp_path / "store", batch_size="auto")
    found = _recorded(tmp_path / "store").batch_size
    assert found <= FITS < max(little_memory)
    assert Store(tmp_path / "store").split("digits", "train").stored_shards() == [0, 1, 2]


def test_a_store_of_a_size_found_is_that_of_the_same_size_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(computation, "found_batch_size", lambda *_: 4)
    _extract(tmp_path / "found", batch_size="auto")
    _extract(tmp_path / "given", batch_size=4)
    assert _bytes(tmp_path / "found") == _bytes(tmp_path / "given")


def test_parts_resuming_and_repair_use_the_size_that_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _extract(tmp_path / "whole", batch_size=4)
    monkeypatch.setattr(computation, "found_batch_size", lambda *_: 4)
    store = tmp_path / "store"
    _extract(store, batch_size="auto", part=Part(1, 2))
    monkeypatch.setattr(computation, "found_batch_size", lambda *_: pytest.fail("it was found already"))
    _extract(store, batch_size="auto", part=Part(2, 2))
    assert _bytes(store) == _bytes(tmp_path / "whole")
    (store / "digits/train/shards/00001.json").unlink()
    _extract(store, batch_size="auto")
    assert _bytes(store) == _bytes(tmp_path / "whole")
    _damage(store)
    repair(RepairOptions(path=store, backbone="mae_digits", dataset="digits", workers=0))
    assert _bytes(store) == _bytes(tmp_path / "whole")


def test_of_two_parts_that_search_at_once_the_second_takes_the_size_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"

    def finds(*_: object) -> int:
        monkeypatch.setattr(computation, "found_batch_size", lambda *_: 4)
        _extract(store, batch_size="auto", part=Part(1, 2))
        return 8

    monkeypatch.setattr(computation, "found_batch_size", finds)
    _extract(store, batch_size="auto", part=Part(2, 2))
    _extract(tmp_path / "whole", batch_size=4)
    assert _bytes(store) == _bytes(tmp_path / "whole")


def test_another_batch_size_than_the_store_has_is_refused_by_name(tmp_path: Path) -> None:
    _extract(tmp_path / "store", batch_size=4)
    with pytest.raises(UserError, match=r"computation\.batch_size \(4 there, 8 here\)"):
        _extract(tmp_path / "store", batch_size=8)


def test_repair_with_another_batch_size_than_the_store_has_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "store"
    _extract(store, batch_size=4)
    _damage(store)
    with pytest.raises(UserError, match="in batches of 4, not 8: leave --batch-size out"):
        repair(RepairOptions(path=store, backbone="mae_digits", dataset="digits", workers=0, batch_size=8))


def test_a_store_that_does_not_say_its_batch_size_goes_on_and_still_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, settle = tmp_path / "store", computation.settle

    def settle_as_before(*arguments: Any) -> Any:
        settled = settle(*arguments)
        manifest = settled.plan.manifest.model_copy(update={"computation": None})
        return replace(settled, plan=replace(settled.plan, manifest=manifest))

    monkeypatch.setattr("extract.pipeline.settle", settle_as_before)
    _extract(store, batch_size=4)
    monkeypatch.undo()
    assert _recorded(store) is None
    whole = _bytes(shutil.copytree(store, tmp_path / "whole"))
    (store / "digits/train/shards/00002.json").unlink()
    _extract(store, batch_size=4)
    assert _bytes(store) == whole


def test_a_given_size_that_does_not_fit_is_one_line(tmp_path: Path, little_memory: list[int]) -> None:
    with pytest.raises(UserError, match="a batch of 16 images does not fit on cpu: give a smaller --batch"):
        _extract(tmp_path / "store", batch_size=16)


def test_a_plan_measures_the_size_of_the_store(tmp_path: Path) -> None:
    store = tmp_path / "store"
    _extract(store, batch_size=2)
    options = ExtractOptions(backbone="mae_digits", dataset="digits", batch_size="auto", out=store)
    assert backbone_rate(plan_work(options), open_backbone("mae_digits"))[1] == 2

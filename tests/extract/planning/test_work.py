from __future__ import annotations

import socket
from pathlib import Path

import pytest
from PIL import Image

from configs import UserError
from extract.options import TokenOptions
from extract.planning.work import Work, plan_work


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a plan needs no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def planned(dataset: str, images: int | None = None, **options: object) -> Work:
    return plan_work(TokenOptions(backbone="mae_digits", dataset=dataset, **options), images)


def test_imagenet_is_counted_without_being_there() -> None:
    work = planned("imagenet")
    assert work.images == {"train": 1_281_167, "validation": 50_000}
    assert work.source is None


def test_one_split_is_planned_alone() -> None:
    assert planned("imagenet", split="validation").images == {"validation": 50_000}


def test_an_unknown_split_gets_the_nearest_ones() -> None:
    with pytest.raises(UserError, match=r"unknown split of imagenet 'vaildation'; did you mean validation"):
        planned("imagenet", split="vaildation")


def test_images_on_this_machine_are_counted() -> None:
    work = planned("digits")
    assert work.images == {"train": 1437, "test": 360}
    assert work.source is not None
    assert len(work.source) == 1437


def test_a_folder_is_counted_and_named_as_extraction_does(tmp_path: Path) -> None:
    (tmp_path / "pets" / "cat").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "pets" / "cat" / "1.png")
    work = planned(f"folder:{tmp_path}/pets")
    assert (work.dataset, work.images) == ("pets", {"train": 1})


def test_a_limit_holds_for_every_split() -> None:
    assert planned("digits", limit=400).images == {"train": 400, "test": 360}


@pytest.mark.parametrize(("split", "name"), [(None, "train"), ("test", "test")])
def test_a_stated_number_is_that_of_the_only_split(split: str | None, name: str) -> None:
    assert planned("digits", 10**9, split=split).images == {name: 10**9}
    assert planned("hf:nobody/nothing", 10**9, split=split).images == {name: 10**9}


@pytest.mark.parametrize("dataset", ["hf:nobody/nothing", "imagenet=hf:nobody/nothing"])
def test_a_data_set_on_the_hub_must_be_counted_by_the_user(dataset: str) -> None:
    with pytest.raises(UserError, match=rf"how many images has {dataset}\? .*--images"):
        planned(dataset)


def test_an_unknown_data_set_gets_the_nearest_ones_though_its_size_is_stated() -> None:
    with pytest.raises(UserError, match=r"unknown dataset 'imagnet'; did you mean imagenet"):
        planned("imagnet", 10)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder at"):
        planned(f"folder:{tmp_path}/nothing")


def test_tokens_go_where_extraction_puts_them() -> None:
    assert planned("digits").store == Path("cache/mae_digits")
    assert planned("digits", out=Path("elsewhere")).store == Path("elsewhere")

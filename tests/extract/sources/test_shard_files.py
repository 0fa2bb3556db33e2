from __future__ import annotations

from pathlib import Path

import pytest

from configs import UserError
from extract.sources.shard_files import expand_braces, shards_by_split


def made(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def found(place: object) -> dict[str, list[str]]:
    return {
        split: [path.name for path in files] for split, files in shards_by_split(str(place), ".tar").items()
    }


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a-{008..011}.tar", ["a-008.tar", "a-009.tar", "a-010.tar", "a-011.tar"]),
        ("{train,val}-{0..1}", ["train-0", "train-1", "val-0", "val-1"]),
        ("plain", ["plain"]),
    ],
)
def test_braces_are_expanded(pattern: str, names: list[str]) -> None:
    assert list(expand_braces(pattern)) == names


@pytest.mark.parametrize(
    "names",
    [
        ("train-0000.tar", "val-0000.tar"),
        ("imagenet1k-train-0000.tar", "imagenet1k-val-0000.tar"),
        ("train/0000.tar", "val/0000.tar"),
        ("data/default/train/0000.tar", "data/default/val/0000.tar"),
    ],
)
def test_splits_are_words_of_names_or_folders(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert list(found(made(tmp_path, *names))) == ["train", "val"]


def test_files_without_a_split_are_train(tmp_path: Path) -> None:
    assert found(made(tmp_path, "1.tar", "trainee.tar")) == {"train": ["1.tar", "trainee.tar"]}


def test_a_split_is_the_whole_name_of_a_folder(tmp_path: Path) -> None:
    made(tmp_path / "test_of_mine", "val/1.tar", "2.tar")
    assert found(tmp_path / "test_of_mine" / "2.tar") == {"train": ["2.tar"]}
    assert found(tmp_path / "test_of_mine" / "val" / "1.tar") == {"val": ["1.tar"]}


def test_stars_match(tmp_path: Path) -> None:
    made(tmp_path, "b-1.tar", "b-0.tar", "c-0.tar")
    assert found(tmp_path / "b-*.tar") == {"train": ["b-0.tar", "b-1.tar"]}


def test_a_file_of_no_split_beside_others_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"which split of .* does extra.tar belong to"):
        found(made(tmp_path, "train-0.tar", "extra.tar"))


def test_several_configurations_are_not_mixed(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"one split lies in several folders .*160px.*320px.*: give one of them"
    ):
        found(made(tmp_path, "160px/train-0.tar", "320px/train-0.tar"))


@pytest.mark.parametrize(
    ("place", "message"),
    [("", "has no .*.tar files"), ("no.tar", "no file at .*no.tar"), ("x-*.tar", "no file matches .*x-")],
)
def test_nothing_found_is_said(tmp_path: Path, place: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        found(tmp_path / place)

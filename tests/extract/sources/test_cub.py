from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from configs import UserError
from extract.sources import open_dataset

BIRDS = (
    "001.Black_footed_Albatross/a_1.png",
    "002.Laysan_Albatross/b_1.png",
    "001.Black_footed_Albatross/a_2.png",
)


@pytest.fixture
def archive(tmp_path: Path, png: Callable[[int], bytes]) -> Path:
    """CUB_200_2011 as it unpacks, with three images."""
    root = tmp_path / "CUB_200_2011"
    (root / "attributes").mkdir(parents=True)
    (root / "parts").mkdir()
    for number, name in enumerate(BIRDS):
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "images" / name).write_bytes(png(number))
    (root / "images.txt").write_text("".join(f"{n} {name}\n" for n, name in enumerate(BIRDS, 1)))
    (root / "train_test_split.txt").write_text("1 1\n2 1\n3 0\n")
    return root


def test_the_archive_is_read_with_its_official_split(archive: Path) -> None:
    dataset = open_dataset(f"folder:{archive}")
    train, test = dataset.open("train"), dataset.open("test")
    assert train.classes == test.classes == ("001.Black_footed_Albatross", "002.Laysan_Albatross")
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 1], [0])
    assert test.load(0).size == (6, 3)
    assert test.describe(0).endswith("images/001.Black_footed_Albatross/a_2.png")


def test_its_class_folders_alone_are_one_split(archive: Path) -> None:
    dataset = open_dataset(f"folder:{archive}/images")
    assert list(dataset.splits) == ["train"]
    assert len(dataset.open("train")) == 3


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("1 1\n2 1\n", "list different images"),
        ("", "two words in each line"),
        ("1 1 1\n", "two words in each line"),
    ],
)
def test_lists_that_do_not_fit_are_refused(archive: Path, lines: str, message: str) -> None:
    (archive / "train_test_split.txt").write_text(lines)
    with pytest.raises(UserError, match=f"{message}.*: unpack the archive again"):
        open_dataset(f"folder:{archive}")

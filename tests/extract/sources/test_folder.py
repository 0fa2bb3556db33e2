from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs import UserError
from extract.sources import open_dataset
from extract.sources.folder import FolderSource


def _image(path: Path, size: int = 4) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size)).save(path)


def test_classes_and_images_are_sorted(mixed_images: Path) -> None:
    source = FolderSource(mixed_images)
    assert source.classes == ("bird", "fish")
    assert source.labels.tolist() == [0] * 4 + [1] * 7
    assert source.describe(0).endswith("bird/cmyk.jpg")


def test_a_tree_without_split_folders_is_one_split_called_train(mixed_images: Path) -> None:
    assert list(open_dataset(f"folder:{mixed_images}").splits) == ["train"]


def test_split_folders_are_found(tmp_path: Path) -> None:
    for split in ("val", "train"):
        _image(tmp_path / "birds" / split / "owl" / "1.png")
    dataset = open_dataset(f"folder:{tmp_path / 'birds'}")
    assert (dataset.name, list(dataset.splits)) == ("birds", ["train", "val"])


def test_an_unknown_split_is_refused_with_the_known_ones(mixed_images: Path) -> None:
    with pytest.raises(UserError, match=r"unknown split of .* 'test'; known: train"):
        open_dataset(f"folder:{mixed_images}").open("test")


@pytest.mark.parametrize("change", ["another size", "another name", "another class"])
def test_the_fingerprint_changes_with_the_files(tmp_path: Path, change: str) -> None:
    _image(tmp_path / "a" / "1.png")
    _image(tmp_path / "b" / "2.png")
    before = FolderSource(tmp_path).fingerprint
    assert FolderSource(tmp_path).fingerprint == before
    if change == "another size":
        _image(tmp_path / "a" / "1.png", size=40)
    else:
        (tmp_path / "a" / "1.png").rename(tmp_path / ("b" if change == "another class" else "a") / "3.png")
    _image(tmp_path / "a" / "0.png") if change == "another class" else None
    assert FolderSource(tmp_path).fingerprint != before


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no folder at .*nowhere"):
        open_dataset(f"folder:{tmp_path / 'nowhere'}")


def test_a_folder_without_class_folders_is_refused(tmp_path: Path) -> None:
    _image(tmp_path / "loose.png")
    with pytest.raises(UserError, match="has no class folders"):
        open_dataset(f"folder:{tmp_path}").open("train")


def test_class_folders_without_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="has no images"):
        open_dataset(f"folder:{tmp_path}").open("train")


def test_a_source_crosses_process_boundaries(mixed_images: Path) -> None:
    source = FolderSource(mixed_images)
    copy = pickle.loads(pickle.dumps(source))
    assert np.array_equal(copy.labels, source.labels)

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

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


def test_every_usual_kind_of_file_is_seen(tmp_path: Path) -> None:
    for name in ("1.JPEG", "2.gif", "3.webp", "4.tif", "5.avif", "notes.txt"):
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "a" / name).touch()
    assert len(FolderSource(tmp_path)) == 5


def test_what_is_no_readable_file_is_a_sample_that_cannot_be_read(tmp_path: Path) -> None:
    _image(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "2.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(tmp_path / "a" / "3.png")
    source = FolderSource(tmp_path)
    assert source.fingerprint
    with pytest.raises(FileNotFoundError):
        source.load(1)
    with pytest.raises(ValueError, match="not a file"):
        source.load(2)


def test_names_that_are_not_utf_8_are_read_and_shown(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.new("RGB", (4, 4)).save(os.fsencode(tmp_path / "a") + b"/\xff.png")
    source = FolderSource(tmp_path)
    assert source.load(0).size == (4, 4)
    assert source.fingerprint
    assert source.describe(0).endswith(r"a/\xff.png")


def test_a_class_whose_name_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/\xff"
    os.mkdir(folder)
    Image.new("RGB", (4, 4)).save(folder + b"/1.png")
    with pytest.raises(UserError, match="has a name that is not UTF-8: rename it"):
        FolderSource(tmp_path)


def test_imagenet_as_its_archives_unpack(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for wnid in ("n01440764", "n01443537"):
            _image(tmp_path / split / wnid / f"{split}_{wnid}_0.png")
    dataset = open_dataset(f"folder:{tmp_path}")
    assert list(dataset.splits) == ["train", "val"]
    assert dataset.open("val").classes == ("n01440764", "n01443537")


def test_a_validation_set_that_is_not_sorted_into_classes_is_named(tmp_path: Path) -> None:
    _image(tmp_path / "train" / "n01440764" / "1.png")
    _image(tmp_path / "val" / "ILSVRC2012_val_00000001.png")
    with pytest.raises(UserError, match="val has no class folders"):
        open_dataset(f"folder:{tmp_path}").open("val")


def test_a_source_crosses_process_boundaries(mixed_images: Path) -> None:
    source = FolderSource(mixed_images)
    copy = pickle.loads(pickle.dumps(source))
    assert np.array_equal(copy.labels, source.labels)


def test_a_link_to_a_folder_is_followed_but_not_in_circles(tmp_path: Path) -> None:
    _image(tmp_path / "tree" / "a" / "1.png")
    _image(tmp_path / "elsewhere" / "2.png")
    (tmp_path / "tree" / "a" / "linked").symlink_to(tmp_path / "elsewhere")
    for name, target in (("up", ".."), ("here", "."), ("again", ".")):
        (tmp_path / "tree" / "a" / name).symlink_to(target)
    source = FolderSource(tmp_path / "tree")
    assert sorted({Path(source.describe(number)).name for number in range(len(source))}) == ["1.png", "2.png"]
    assert len(source) < 10


def test_a_folder_that_cannot_be_read_is_refused_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _image(tmp_path / "a" / "1.png")
    _image(tmp_path / "b" / "closed" / "2.png")
    scandir = os.scandir

    def refusing(path: str) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    # `os.walk` looks it up by this name
    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(UserError, match=r"cannot read .*closed \(Permission denied\)"):
        FolderSource(tmp_path)


def test_a_hidden_folder_is_no_class(tmp_path: Path) -> None:
    _image(tmp_path / "a" / "1.png")
    _image(tmp_path / ".ipynb_checkpoints" / "1-checkpoint.png")
    assert FolderSource(tmp_path).classes == ("a",)


def test_the_order_is_torchvisions(tmp_path: Path) -> None:
    for name in ("b/z.png", "b/a-b/1.png", "b/a/2.png", "b/a/c/0.png", "B/1.png", "a b/2.png"):
        _image(tmp_path / name)
    (tmp_path / "b" / "a" / "note.txt").touch()
    source, wanted = FolderSource(tmp_path), ImageFolder(str(tmp_path))
    found = [Path(source.describe(number)) for number in range(len(source))]
    assert found == [Path(path) for path, _ in wanted.samples]
    assert source.labels.tolist() == [label for _, label in wanted.samples]

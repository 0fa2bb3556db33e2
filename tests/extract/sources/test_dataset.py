from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from configs import DatasetConfig, UserError, load_dataset, names
from extract.sources import Dataset, open_dataset
from extract.sources.dataset import _name_of
from extract.sources.folder import FolderSource
from extract.sources.joined import JoinedSource


def test_a_data_set_with_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "owl").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "owl" / "1.png")
    dataset = Dataset("birds", "hf:someone/birds", 3, {"train": lambda: FolderSource(tmp_path)})
    with pytest.raises(UserError, match=r"birds should have 3 classes; train has 1"):
        dataset.open("train")


def test_a_generic_source_is_named_after_its_last_part(tmp_path: Path) -> None:
    (tmp_path / "my birds!").mkdir()
    assert open_dataset(f"folder:{tmp_path / 'my birds!'}").name == "my_birds_"


def _birds(root: Path, *splits: str) -> Path:
    for split in splits:
        for name in ("jay", "owl"):
            folder = root / split / name
            folder.mkdir(parents=True)
            Image.new("RGB", (4, 4)).save(folder / f"{split}.png")
    return root


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("csv:{}/birds.csv", "birds"),
        ("webdataset:{}/w/a-{{0..1}}.tar", "w"),
        ("parquet:{}/p-*.parquet", "here"),
    ],
)
def test_names_of_files_and_patterns(tmp_path: Path, spec: str, name: str) -> None:
    assert _name_of(spec.format(tmp_path / "here")) == name


def test_a_named_data_set_can_lie_elsewhere(tmp_path: Path) -> None:
    dataset = open_dataset(f"cub200=folder:{_birds(tmp_path, 'train', 'val')}")
    assert (dataset.name, list(dataset.splits)) == ("cub200", ["train", "val"])
    with pytest.raises(UserError, match="cub200 should have 200 classes; train has 2: is folder:"):
        dataset.open("train")


@pytest.mark.parametrize("spec", ["cub200=/data/birds", "cub200=fodler:/data"])
def test_elsewhere_must_be_a_source(spec: str) -> None:
    with pytest.raises(UserError, match="after the = give folder:…, hf:…"):
        open_dataset(spec)


def test_an_archive_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match=r"no folder at places365_standard: unpack http.* here, or give places365=folder:PATH"
    ):
        open_dataset("places365")


def test_splits_are_renamed_and_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = _birds(tmp_path, "train", "val", "test")
    config = DatasetConfig(
        name="pets", source=f"folder:{place}", splits={"train": "train+val", "validation": "test"}
    )
    monkeypatch.setattr("extract.sources.dataset.load_dataset", lambda name: config)
    dataset = open_dataset("pets")
    assert list(dataset.splits) == ["train", "validation"]
    source = dataset.open("train")
    assert isinstance(source, JoinedSource)
    assert source.labels.tolist() == [0, 1, 0, 1]
    assert [Path(source.describe(i)).name for i in range(4)] == ["train.png"] * 2 + ["val.png"] * 2
    assert source.load(3).size == (4, 4)
    assert source.fingerprint not in {dataset.open("validation").fingerprint}


def test_a_stated_split_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = DatasetConfig(
        name="pets", source=f"folder:{_birds(tmp_path, 'train')}", splits={"train": "trian"}
    )
    monkeypatch.setattr("extract.sources.dataset.load_dataset", lambda name: config)
    with pytest.raises(UserError, match=r"unknown split of folder:.* 'trian'; did you mean train"):
        open_dataset("pets")


@pytest.mark.parametrize(
    "spec",
    [
        "webdataset:https://host/a.tar",
        "webdataset:pipe:cat a.tar",
        "parquet:s3://b/c.parquet",
        "csv:http://h/a.csv",
    ],
)
def test_remote_places_are_refused_in_one_line(spec: str) -> None:
    with pytest.raises(UserError, match=r"reads files on this machine: download .* first") as caught:
        open_dataset(spec)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", names("datasets"))
def test_every_named_data_set_states_what_planning_and_checking_need(name: str) -> None:
    config = load_dataset(name)
    assert config.num_classes
    assert config.splits
    assert config.images.keys() == config.splits.keys()
    assert config.notes
    if config.source.startswith("hf:"):
        assert config.image_column
        assert config.label_column
    if config.source.startswith("folder:"):
        assert config.archive


def test_the_paper_s_seven_data_sets_are_named() -> None:
    seven = {"imagenet", "places365", "cifar100", "cub200", "cars", "aircraft", "food101"}
    assert seven <= set(names("datasets"))

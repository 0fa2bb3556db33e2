from __future__ import annotations

import io
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from configs import UserError
from extract.images import to_rgb
from extract.sources import open_dataset


def _png(value: int) -> dict[str, bytes | None]:
    stream = io.BytesIO()
    Image.new("RGB", (4 + value, 3), (value, 0, 0)).save(stream, "PNG")
    return {"bytes": stream.getvalue(), "path": None}


def _repository(folder: Path, *, label: object, values: list[object], image: str = "image") -> str:
    """A local folder in the layout of a Hub repository with parquet files."""
    features = datasets.Features({image: datasets.Image(), "label": label, "note": datasets.Value("string")})
    rows = {image: [_png(i) for i in range(len(values))], "label": values, "note": ["x"] * len(values)}
    for split in ("train", "test"):
        path = folder / "data" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_dict(rows, features=features).to_parquet(str(path))
    return str(folder)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")


def test_images_labels_and_classes_are_read(tmp_path: Path) -> None:
    label = datasets.ClassLabel(names=["cat", "dog"])
    repository = _repository(tmp_path / "pets", label=label, values=[1, 0, 1])
    dataset = open_dataset(f"hf:{repository}")
    assert (dataset.name, sorted(dataset.splits)) == ("pets", ["test", "train"])
    source = dataset.open("train")
    assert source.classes == ("cat", "dog")
    assert source.labels.tolist() == [1, 0, 1]
    assert np.asarray(to_rgb(source.load(2)))[0, 0].tolist() == [2, 0, 0]
    assert source.describe(2).endswith("pets/train[2]")


def test_plain_values_become_sorted_classes(tmp_path: Path) -> None:
    repository = _repository(tmp_path / "p", label=datasets.Value("string"), values=["b", "a", "b"])
    source = open_dataset(f"hf:{repository}").open("test")
    assert source.classes == ("a", "b")
    assert source.labels.tolist() == [1, 0, 1]


def test_the_image_column_is_found_by_its_type(tmp_path: Path) -> None:
    repository = _repository(tmp_path / "p", label=datasets.Value("int64"), values=[3, 4], image="picture")
    assert open_dataset(f"hf:{repository}").open("train").load(0).size == (4, 3)


def test_a_wrong_column_is_refused_with_the_columns_there_are(tmp_path: Path) -> None:
    repository = _repository(tmp_path / "p", label=datasets.Value("int64"), values=[3])
    with pytest.raises(UserError, match="no column 'photo'; it has image, label, note"):
        open_dataset(f"hf:{repository}", image_column="photo").open("train")


def test_hidden_labels_are_refused(tmp_path: Path) -> None:
    repository = _repository(tmp_path / "p", label=datasets.ClassLabel(names=["a"]), values=[-1, -1])
    with pytest.raises(UserError, match="has no labels"):
        open_dataset(f"hf:{repository}").open("test")


def test_the_fingerprint_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    fingerprints = [
        open_dataset(f"hf:{repository}").open("train").fingerprint
        for repository in (
            _repository(tmp_path / "1", label=datasets.Value("int64"), values=[3, 4]),
            _repository(tmp_path / "2", label=datasets.Value("int64"), values=[3, 4]),
            _repository(tmp_path / "3", label=datasets.Value("int64"), values=[4, 3]),
        )
    ]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_a_repository_that_is_not_there_gets_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot load .* with datasets") as caught:
        open_dataset(f"hf:{tmp_path / 'nothing'}")
    assert "\n" not in str(caught.value)


GATED = datasets.exceptions.DatasetNotFoundError(
    "Dataset 'x' is a gated dataset on the Hub. You must be authenticated."
)
MISSING = datasets.exceptions.DatasetNotFoundError(
    "Dataset 'x' doesn't exist on the Hub or cannot be accessed."
)


@pytest.mark.parametrize(
    ("spec", "error", "remedy"),
    [
        (
            "imagenet",
            GATED,
            r"accept its terms on https://huggingface.co/datasets/ILSVRC/imagenet-1k, make a token at "
            r"https://huggingface.co/settings/tokens, run `hf auth login` or set HF_TOKEN, and give the same "
            r"command again; or give images that are here already as --dataset imagenet=folder:PATH",
        ),
        (
            "imagenet",
            MISSING,
            "accept its terms on",
        ),  # what the Hub says of gated ones without a token differs
        ("hf:someone/birds", GATED, "accept its terms on https://huggingface.co/datasets/someone/birds"),
        ("hf:someone/birds", MISSING, "check the name; if it is private, make a token at"),
        ("food101", ConnectionError("Couldn't reach the Hub"), "check the network; HF_HUB_OFFLINE=1 takes"),
        (
            "food101",
            RuntimeError("Dataset scripts are no longer supported, but found food101.py"),
            "it is a program, which datasets does not run any more",
        ),
        ("food101", ValueError("two\nlines"), "two lines .check its name, its configuration"),
    ],
)
def test_what_to_do_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, spec: str, error: Exception, remedy: str
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(datasets, "get_dataset_split_names", refuse)
    with pytest.raises(UserError, match=remedy) as caught:
        open_dataset(spec)
    assert "\n" not in str(caught.value)

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs import UserError
from extract.sources import open_dataset
from extract.sources import parquet as parquet_source

Png = Callable[[int], bytes]


@pytest.fixture
def hub_file(png: Png) -> Callable[..., Path]:
    """Writes a file as `datasets` does: struct of bytes and path, features in its metadata."""

    def write(path: Path, labels: Sequence[object], label: object = None, rows: int = 2) -> Path:
        kind = label or datasets.ClassLabel(names=["cat", "dog"])
        features = datasets.Features({"image": datasets.Image(), "label": kind})
        images = [{"bytes": png(i), "path": None} for i in range(len(labels))]
        table = datasets.Dataset.from_dict({"image": images, "label": list(labels)}, features=features)
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_parquet(str(path), batch_size=rows)
        return path

    return write


def plain(path: Path, **columns: object) -> Path:
    """Writes a file as any other program does."""
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


def test_the_layout_of_the_hub_is_read_at_random(tmp_path: Path, hub_file: Callable[..., Path]) -> None:
    hub_file(tmp_path / "pets" / "data" / "train-00000-of-00002.parquet", [1, 0, 1, 1, 0])
    hub_file(tmp_path / "pets" / "data" / "train-00001-of-00002.parquet", [0, 0])
    hub_file(tmp_path / "pets" / "data" / "test-00000-of-00001.parquet", [1])
    dataset = open_dataset(f"parquet:{tmp_path}/pets")
    assert (dataset.name, sorted(dataset.splits)) == ("pets", ["test", "train"])
    source = dataset.open("train")
    assert source.classes == dataset.open("test").classes == ("cat", "dog")
    assert source.labels.tolist() == [1, 0, 1, 1, 0, 0, 0]
    assert [source.load(i).size[0] for i in (6, 0, 4, 3, 5)] == [5, 4, 8, 7, 4]
    assert source.describe(4).endswith("train-00000-of-00002.parquet: row 4")
    assert source.describe(6).endswith("train-00001-of-00002.parquet: row 1")


def test_it_gives_what_datasets_gives(tmp_path: Path, hub_file: Callable[..., Path]) -> None:
    path = hub_file(tmp_path / "train.parquet", [1, 0, 1, 1, 0])
    source = open_dataset(f"parquet:{path}").open("train")
    rows = datasets.load_dataset(
        "parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache")
    )
    for index, row in enumerate(rows):
        assert np.array_equal(np.asarray(source.load(index)), np.asarray(row["image"]))
        assert source.labels[index] == row["label"]


def test_bytes_beside_text_are_read_and_classes_shared(tmp_path: Path, png: Png) -> None:
    plain(tmp_path / "train.parquet", photo=[png(1), png(2)], label=["owl", "jay"])
    plain(tmp_path / "val.parquet", photo=[png(3)], label=pa.array(["owl"]).dictionary_encode())
    dataset = open_dataset(f"parquet:{tmp_path}")
    assert dataset.open("val").classes == ("jay", "owl")
    assert dataset.open("val").labels.tolist() == [1]
    assert dataset.open("train").load(1).size == (6, 3)


def test_images_may_lie_beside_the_file(tmp_path: Path, png: Png) -> None:
    (tmp_path / "1.png").write_bytes(png(9))
    image = pa.array([{"bytes": None, "path": "1.png"}, {"bytes": None, "path": None}])
    path = plain(tmp_path / "x.parquet", image=image, label=[10, 9])
    source = open_dataset(f"parquet:{path}").open("train")
    assert (source.load(0).size, source.classes) == ((13, 3), ("9", "10"))
    with pytest.raises(ValueError, match="the row holds no image"):
        source.load(1)


def test_columns_can_be_named(tmp_path: Path, png: Png) -> None:
    path = plain(tmp_path / "x.parquet", a=[png(1)], b=[png(2)], kind=[4], label=[5])
    source = open_dataset(f"parquet:{path}", image_column="b", label_column="kind").open("train")
    assert (source.load(0).size, source.classes) == ((6, 3), ("4",))


def test_a_worker_keeps_few_row_groups(
    tmp_path: Path, hub_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_source, "KEPT_BYTES", 300)
    source = open_dataset(f"parquet:{hub_file(tmp_path / 'x.parquet', [0] * 20)}").open("train")
    assert isinstance(source, parquet_source.ParquetSource)
    for index in range(20):
        source.load(index)
    assert 1 <= len(source._kept) < 10


def test_a_source_crosses_process_boundaries_without_what_it_keeps(
    tmp_path: Path, hub_file: Callable[..., Path]
) -> None:
    source = open_dataset(f"parquet:{hub_file(tmp_path / 'x.parquet', [0, 1])}").open("train")
    source.load(0)
    copy = pickle.loads(pickle.dumps(source))
    assert copy._kept == {}
    assert copy.load(1).size == (5, 3)


def test_the_fingerprint_follows_the_content_and_not_the_place(
    tmp_path: Path, hub_file: Callable[..., Path]
) -> None:
    found = [
        open_dataset(f"parquet:{hub_file(tmp_path / name, labels)}").open("train").fingerprint
        for name, labels in (("1.parquet", [0, 1]), ("2.parquet", [0, 1]), ("3.parquet", [1, 0]))
    ]
    assert found[0] == found[1] != found[2]


def test_hidden_labels_are_refused(tmp_path: Path, hub_file: Callable[..., Path]) -> None:
    with pytest.raises(
        UserError, match=r"x.parquet has no labels: column 'label' holds numbers outside its 2"
    ):
        open_dataset(f"parquet:{hub_file(tmp_path / 'x.parquet', [-1, -1])}")


def test_splits_that_state_other_classes_are_refused(tmp_path: Path, hub_file: Callable[..., Path]) -> None:
    hub_file(tmp_path / "train.parquet", [0, 1])
    hub_file(tmp_path / "val.parquet", [0, 1], label=datasets.ClassLabel(names=["dog", "cat"]))
    with pytest.raises(UserError, match="state different classes"):
        open_dataset(f"parquet:{tmp_path}")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"x": [1], "label": [1]},
            r"no column that is clearly the image \(it has x, label\).*--image-column",
        ),
        ({"image": [b""], "kind": [1]}, r"no column that is clearly the label .*--label-column"),
        ({"image": [b"", b""], "label": [1, None]}, "column 'label' holds 1 empty cells"),
        ({"image": [b""], "label": [0.5]}, "column 'label' holds double, neither whole numbers nor text"),
        ({"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}, "holds no rows"),
    ],
)
def test_what_is_not_clear_is_named(tmp_path: Path, columns: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_dataset(f"parquet:{plain(tmp_path / 'x.parquet', **columns)}")


def test_a_column_that_is_not_there_is_refused(tmp_path: Path, png: Png) -> None:
    path = plain(tmp_path / "x.parquet", image=[png(1)], label=[1])
    with pytest.raises(UserError, match=r"no column 'photo' \(it has image, label\)"):
        open_dataset(f"parquet:{path}", image_column="photo")


def test_files_that_are_no_parquet_are_refused_in_one_line(tmp_path: Path) -> None:
    for name, content in (("text", b"hello, this is no parquet"), ("nothing", b"")):
        (tmp_path / f"{name}.parquet").write_bytes(content)
        with pytest.raises(
            UserError, match=rf"cannot read .*{name}.parquet .*whole Parquet file\?"
        ) as caught:
            open_dataset(f"parquet:{tmp_path}/{name}.parquet")
        assert "\n" not in str(caught.value)

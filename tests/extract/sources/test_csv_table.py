from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from configs import UserError
from extract.sources import open_dataset

Write = Callable[..., Path]


@pytest.fixture
def table(tmp_path: Path, png: Callable[[int], bytes]) -> Write:
    """`table("path,label", …)` writes those lines to list.csv, beside the images i/0.png to i/3.png."""
    (tmp_path / "i").mkdir()
    for number in range(4):
        (tmp_path / "i" / f"{number}.png").write_bytes(png(number))

    def write(*lines: str, name: str = "list.csv") -> Path:
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
        return tmp_path / name

    return write


def test_a_header_names_the_columns(table: Write) -> None:
    path = table("id,label,path", "7,owl,i/2.png", "8,jay,i/0.png", "9,owl,i/1.png")
    dataset = open_dataset(f"csv:{path}")
    assert (dataset.name, list(dataset.splits)) == ("list", ["train"])
    source = dataset.open("train")
    assert source.classes == ("jay", "owl")
    assert source.labels.tolist() == [1, 0, 1]
    assert [source.load(i).size[0] for i in range(3)] == [6, 4, 5]
    assert source.describe(0).endswith("i/2.png")


def test_without_a_header_columns_are_path_label_and_split(table: Write) -> None:
    dataset = open_dataset(f"csv:{table('i/0.png,a,train', 'i/1.png,b,val', 'i/2.png,b,train')}")
    assert dataset.open("train").labels.tolist() == [0, 1]
    assert dataset.open("val").labels.tolist() == [1]


def test_splits_share_their_classes_although_one_lacks_some(table: Write) -> None:
    dataset = open_dataset(
        f"csv:{table('path,label,split', 'i/0.png,a,train', 'i/1.png,b,train', 'i/2.png,b,val')}"
    )
    assert dataset.open("val").classes == ("a", "b")


def test_a_folder_has_a_file_for_each_split(table: Write) -> None:
    table("path,label", "i/0.png,a", name="train.csv")
    path = table("path,label", "i/1.png,b", name="val.csv")
    dataset = open_dataset(f"csv:{path.parent}")
    assert [dataset.open(split).labels.tolist() for split in ("train", "val")] == [[0], [1]]


def test_columns_can_be_named(table: Write) -> None:
    path = table("photo,bird,weather", "i/1.png,owl,wet", "i/2.png,jay,dry")
    source = open_dataset(f"csv:{path}", image_column="photo", label_column="bird").open("train")
    assert source.classes == ("jay", "owl")


def test_numbers_are_ordered_as_numbers(table: Write) -> None:
    source = open_dataset(f"csv:{table('i/0.png,10', 'i/1.png,9', 'i/2.png,1')}").open("train")
    assert source.classes == ("1", "9", "10")


def test_quotes_byte_order_mark_and_empty_lines_are_read(table: Write) -> None:
    path = table("\ufeffpath,label", '"i/0.png","owl, barn"', "", "i/1.png,jay")
    assert open_dataset(f"csv:{path}").open("train").classes == ("jay", "owl, barn")


def test_the_fingerprint_follows_labels_and_sizes(table: Write) -> None:
    def fingerprint(*lines: str) -> str:
        return open_dataset(f"csv:{table(*lines)}").open("train").fingerprint

    first = fingerprint("i/0.png,a", "i/1.png,b")
    assert fingerprint("path,label", "i/0.png,a", "i/1.png,b") == first
    assert fingerprint("i/0.png,b", "i/1.png,a") != first
    assert fingerprint("i/0.png,a", "i/2.png,b") != first


def test_a_source_crosses_process_boundaries(table: Write) -> None:
    source = open_dataset(f"csv:{table('i/0.png,a', 'i/1.png,b')}").open("train")
    assert pickle.loads(pickle.dumps(source)).load(1).size == (5, 3)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "list.csv lists no images"),
        (["path,label"], "list.csv lists no images"),
        (["path,label", "i/0.png,"], "line 2 of .*list.csv has no label"),
        (["path,label", "i/0.png,a", ",a"], "line 3 of .*list.csv has no path"),
        (["i/0.png,a", "i/1.png"], "line 2 of .*list.csv has 1 columns, the first 2"),
        (["photo,bird", "i/0.png,a"], "no file photo beside .*list.csv.*--image-column and --label-column"),
        (["a,b,c,d", "1,2,3,4"], "has the columns a, b, c, d: name those of the path and the label with"),
    ],
)
def test_bad_lines_are_named(table: Write, lines: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_dataset(f"csv:{table(*lines)}")


def test_a_column_that_is_not_there_is_refused_with_those_that_are(table: Write) -> None:
    path = table("path,label", "i/0.png,a")
    with pytest.raises(UserError, match="has the columns path, label: name those"):
        open_dataset(f"csv:{path}", label_column="bird")


def test_a_missing_file_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no CSV file at .*nothing.csv"):
        open_dataset(f"csv:{tmp_path}/nothing.csv")
    with pytest.raises(UserError, match=r"has none of train.csv, val.csv"):
        open_dataset(f"csv:{tmp_path}")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UserError, match=r"cannot read .*x.csv: .*utf-8"):
        open_dataset(f"csv:{tmp_path}/x.csv")


@pytest.mark.parametrize("split", ["../../evil", "a/b", ".", ".."])
def test_a_split_that_would_lie_outside_the_store_is_refused(table: Write, split: str) -> None:
    path = table("path,label,split", f"i/0.png,owl,{split}")
    with pytest.raises(UserError, match=r"line 2 of .* names the split .*: it is to name a folder"):
        open_dataset(f"csv:{path}")

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from configs import UserError
from extract.sources import open_dataset

Members = list[tuple[str, bytes]]


def shard(path: Path, members: Members, mode: str = "w", kind: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode, format=kind) as tar:  # type: ignore[call-overload]
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def samples(png: Callable[[int], bytes]) -> Callable[..., Members]:
    """`samples(3, 5)`: images 3 and 5, each beside its number as class."""

    def made(*values: int) -> Members:
        return [pair for v in values for pair in ((f"{v:06}.png", png(v)), (f"{v:06}.cls", str(v).encode()))]

    return made


def test_images_and_labels_are_read_at_random(tmp_path: Path, samples: Callable[..., Members]) -> None:
    shard(tmp_path / "w" / "train-0000.tar", samples(3, 10))
    shard(tmp_path / "w" / "train-0001.tar", samples(5))
    shard(tmp_path / "w" / "val-0000.tar", samples(10))
    dataset = open_dataset(f"webdataset:{tmp_path}/w")
    assert (dataset.name, sorted(dataset.splits)) == ("w", ["train", "val"])
    source = dataset.open("train")
    assert source.classes == dataset.open("val").classes == ("3", "5", "10")
    assert source.labels.tolist() == [0, 2, 1]
    assert [source.load(i).size[0] for i in (2, 0, 1)] == [9, 7, 14]
    assert source.describe(2) == f"{tmp_path}/w/train-0001.tar: 000005"


def test_a_pattern_names_the_shards(tmp_path: Path, samples: Callable[..., Members]) -> None:
    for number in range(3):
        shard(tmp_path / f"birds-{number:02}.tar", samples(number))
    dataset = open_dataset(f"webdataset:{tmp_path}/birds-{{00..01}}.tar")
    assert dataset.name == tmp_path.name.replace("[", "_")
    assert len(dataset.open("train")) == 2


@pytest.mark.parametrize("order", [1, -1])
def test_a_label_may_stand_in_json_and_before_the_image(
    tmp_path: Path, png: Callable[[int], bytes], order: int
) -> None:
    members = [("a/1.png", png(1)), ("a/1.json", b'{"label": "owl", "x": 1}'), ("a/1.txt", b"a bird")]
    path = shard(tmp_path / "x.tar", members[::order])
    source = open_dataset(f"webdataset:{path}").open("train")
    assert (source.classes, source.load(0).size) == (("owl",), (5, 3))


def test_columns_name_extension_and_key(tmp_path: Path, png: Callable[[int], bytes]) -> None:
    members = [("1.png", png(1)), ("1.jpg", png(2)), ("1.json", b'{"bird": 4}')]
    path = shard(tmp_path / "x.tar", members)
    source = open_dataset(f"webdataset:{path}", image_column="jpg", label_column="bird").open("train")
    assert (source.classes, source.load(0).size) == (("4",), (6, 3))


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_tar_dialect_and_long_names_are_read(
    tmp_path: Path, png: Callable[[int], bytes], kind: int
) -> None:
    folder = "/".join(["a" * 60] * (2 if kind == tarfile.USTAR_FORMAT else 6))
    path = shard(tmp_path / "x.tar", [(f"{folder}/1.png", png(9)), (f"{folder}/1.cls", b"0\n")], kind=kind)
    assert open_dataset(f"webdataset:{path}").open("train").load(0).size == (13, 3)


def test_members_without_an_image_are_no_samples(tmp_path: Path, samples: Callable[..., Members]) -> None:
    extra = [("README", b"hello"), ("meta.json", b"{}"), ("._000003.png", b"resource fork")]
    path = shard(tmp_path / "x.tar", [*extra, *samples(3)])
    assert len(open_dataset(f"webdataset:{path}").open("train")) == 1


def test_the_fingerprint_follows_the_content_and_not_the_place(
    tmp_path: Path, samples: Callable[..., Members]
) -> None:
    found = [
        open_dataset(f"webdataset:{shard(tmp_path / name, members)}").open("train").fingerprint
        for name, members in (("1.tar", samples(1, 2)), ("2.tar", samples(1, 2)), ("3.tar", samples(1, 3)))
    ]
    assert found[0] == found[1] != found[2]


def test_a_source_crosses_process_boundaries(tmp_path: Path, samples: Callable[..., Members]) -> None:
    source = open_dataset(f"webdataset:{shard(tmp_path / 'x.tar', samples(1, 2))}").open("train")
    assert pickle.loads(pickle.dumps(source)).load(1).size == (6, 3)


def test_a_shard_that_shrank_since_is_a_named_error(tmp_path: Path, samples: Callable[..., Members]) -> None:
    path = shard(tmp_path / "x.tar", samples(1, 2))
    source = open_dataset(f"webdataset:{path}").open("train")
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(ValueError, match="the shard has become shorter"):
        source.load(1)


def test_a_name_that_comes_twice_is_refused(tmp_path: Path, samples: Callable[..., Members]) -> None:
    path = shard(tmp_path / "x.tar", samples(1, 1))
    with pytest.raises(UserError, match=r"x.tar holds 000001.png twice"):
        open_dataset(f"webdataset:{path}")


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ([], r"x.tar: 1 has no label \(neither .cls nor label in .json\)"),
        ([("1.cls", b" \n")], "has no label"),
        ([("1.json", b'{"class": 3}')], "has no label"),
        ([("1.json", b'{"label": [3]}')], "has no label"),
        ([("1.json", b"not json")], "x.tar: 1.json is not a JSON object"),
        ([("1.cls", b"0"), ("1.jpg", b"x")], "has png and jpg: say which is the image with --image-column"),
    ],
)
def test_a_sample_that_is_not_clear_is_named(
    tmp_path: Path, png: Callable[[int], bytes], label: Members, message: str
) -> None:
    path = shard(tmp_path / "x.tar", [("1.png", png(1)), *label])
    with pytest.raises(UserError, match=message):
        open_dataset(f"webdataset:{path}")


def test_a_named_label_that_is_missing_is_named(tmp_path: Path, samples: Callable[..., Members]) -> None:
    path = shard(tmp_path / "x.tar", samples(1))
    with pytest.raises(UserError, match=r"has no label \(no bird\)"):
        open_dataset(f"webdataset:{path}", label_column="bird")


def test_compressed_cut_off_and_empty_shards_are_refused(
    tmp_path: Path, samples: Callable[..., Members]
) -> None:
    shard(tmp_path / "gz.tar", samples(1), mode="w:gz")
    whole = shard(tmp_path / "whole.tar", samples(1, 2)).read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: whole.index(b"000002.png") + 540])
    (tmp_path / "nothing.tar").touch()
    for name in ("gz", "cut", "nothing"):
        with pytest.raises(
            UserError, match=rf"cannot read .*{name}.tar .*whole tar files, without compr"
        ) as caught:
            open_dataset(f"webdataset:{tmp_path}/{name}.tar")
        assert "\n" not in str(caught.value)


def test_a_shard_without_images_is_refused(tmp_path: Path) -> None:
    path = shard(tmp_path / "x.tar", [("1.txt", b"words")])
    with pytest.raises(UserError, match=r"x.tar has no images \(jpg, "):
        open_dataset(f"webdataset:{path}")

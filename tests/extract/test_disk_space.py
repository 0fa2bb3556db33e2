from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from configs import UserError
from extract.command import extract
from extract.disk_space import require_space, stored_bytes
from extract.options import ExtractOptions

RECORD = 64 * 96 * 2 + 96 * 2 + 2 * 96 * 4 + 2 * 8
"""Bytes of a digit: 64 patches and [CLS] in float16, two means in float32, label and sample_id."""


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """What every disk has free; tests set it."""
    disk = {"free": 10**12}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, disk["free"]))
    return disk


def options(tmp_path: Path, **changes: object) -> ExtractOptions:
    words = {"backbone": "mae_digits", "dataset": "digits", "split": "train", "limit": 60, "workers": 0}
    return ExtractOptions(**{**words, "shard_size": 20, "out": tmp_path / "a" / "store", **changes})


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({}, "--dtype int8 or fewer --blocks"),
        ({"dtype": "int8"}, "fewer --blocks"),
        ({"views": 2, "augment": "rrc_flip"}, "--dtype int8 or fewer --views or fewer --blocks"),
    ],
    ids=["float16", "int8", "views"],
)
def test_a_store_that_does_not_fit_is_refused_with_what_to_do(
    tmp_path: Path, changes: dict[str, object], advice: str
) -> None:
    with pytest.raises(UserError) as caught:
        require_space(tmp_path, 2_000_000, 1_000_000, options(tmp_path, **changes))
    assert str(caught.value) == (
        f"{tmp_path} needs 2.00 MB more, and 1.00 MB are free there: "
        f"choose another --out, {advice}, or --force"
    )


def test_a_split_that_is_not_there_has_stored_nothing(tmp_path: Path) -> None:
    assert stored_bytes(tmp_path / "digits" / "train") == 0


def test_a_full_disk_is_refused_before_anything_is_written(tmp_path: Path, free: dict[str, int]) -> None:
    free["free"] = 60 * RECORD - 1
    with pytest.raises(UserError, match=r"needs 795\.8 KB more, and 795\.8 KB are free"):
        extract(options(tmp_path))
    assert list(tmp_path.iterdir()) == []
    free["free"] += 1
    extract(options(tmp_path))
    assert stored_bytes(tmp_path / "a/store/digits/train") == 60 * RECORD


@pytest.mark.parametrize("force", [True, False])
def test_a_folder_that_may_not_be_written_is_refused_in_a_line(
    tmp_path: Path, closed: Path, force: bool
) -> None:
    with pytest.raises(UserError, match=r"cannot write .*closed/store \(Permission denied\): give a folder"):
        extract(options(tmp_path, out=closed / "store", force=force))


def test_a_full_disk_is_tried_when_forced(tmp_path: Path, free: dict[str, int]) -> None:
    free["free"] = 0
    extract(options(tmp_path, force=True))
    assert stored_bytes(tmp_path / "a/store/digits/train") == 60 * RECORD


def test_shards_that_are_stored_need_no_room(tmp_path: Path, free: dict[str, int]) -> None:
    extract(options(tmp_path))
    split = tmp_path / "a/store/digits/train"
    (split / "shards/00001.json").unlink()
    assert stored_bytes(split) == 40 * RECORD
    free["free"] = 20 * RECORD - 1
    with pytest.raises(UserError, match="needs 265"):
        extract(options(tmp_path))
    free["free"] += 1
    extract(options(tmp_path))
    assert stored_bytes(split) == 60 * RECORD

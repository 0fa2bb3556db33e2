"""Where nothing may be written, one line says so and what to do."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cache import SplitManifest, StoreFormat, StoreManifest, create_store
from configs import UserError

StoreOf = Callable[..., StoreManifest]


def test_a_store_in_a_closed_folder_is_refused_in_a_line(closed: Path, store_manifest: StoreOf) -> None:
    with pytest.raises(UserError) as refused:
        create_store(closed / "a" / "store", store_manifest())
    assert str(refused.value) == (
        f"cannot write {closed}/a/store (Permission denied): give a folder that you may write to"
    )


def test_a_store_below_a_file_is_refused_in_a_line(tmp_path: Path, store_manifest: StoreOf) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match=r"cannot write .*txt/store \(Not a directory\): give a folder"):
        create_store(tmp_path / "notes.txt" / "store", store_manifest())


def test_a_store_on_a_read_only_disk_is_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store_manifest: StoreOf
) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.raises(UserError, match=r"cannot write .*store \(Read-only file system\): give a folder"):
        create_store(tmp_path / "store", store_manifest())


def test_a_split_in_somebody_elses_store_is_refused_in_a_line(
    store: Path,
    engine: StoreFormat,
    monkeypatch: pytest.MonkeyPatch,
    split_manifest: Callable[..., SplitManifest],
    write_split: Callable[..., Path],
) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", forbidden)
    with pytest.raises(UserError, match=r"cannot write .*digits/train \(Permission denied\): give a folder"):
        write_split(store, split_manifest(format=engine))

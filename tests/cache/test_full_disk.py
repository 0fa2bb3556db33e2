"""A disk that fills up costs one shard, not the run. Limits on file size stand for the full disk."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable
from contextlib import AbstractContextManager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from cache import SplitManifest, SplitReader, StoreFormat
from configs import UserError

SplitOf = Callable[..., SplitManifest]
Writing = Callable[..., Path]
Contents = Callable[[Path], dict[str, bytes]]
Forked = Callable[..., AbstractContextManager[BaseProcess]]


def _write_under_limit(
    write_split: Writing, store: Path, manifest: SplitManifest, limit: int, answer: Connection
) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        write_split(store, manifest)
        answer.send("written")
    except UserError as error:
        answer.send(str(error))
    except Exception as error:
        answer.send(repr(error))


@pytest.fixture
def message_under_limit(forked: Forked, write_split: Writing) -> Callable[[Path, SplitManifest, int], str]:
    """What a process says that goes on with the split but may make no file longer than the limit."""

    def message(store: Path, manifest: SplitManifest, limit: int) -> str:
        receive, send = get_context("fork").Pipe(duplex=False)
        with forked(_write_under_limit, write_split, store, manifest, limit, send):
            assert receive.poll(60)
            return str(receive.recv())

    return message


@pytest.fixture
def large(split_manifest: SplitOf, engine: StoreFormat) -> SplitManifest:
    """Three shards of more than 60 KB each."""
    return split_manifest(format=engine, records=10, shard_size=4, num_tokens=64, dim=128)


def test_full_disk_is_said_in_one_line(
    store: Path,
    large: SplitManifest,
    message_under_limit: Callable[[Path, SplitManifest, int], str],
) -> None:
    message = message_under_limit(store, large, 30_000)
    assert message.startswith(f"no space left for {store / 'digits/train'}")
    assert "\n" not in message


def test_whole_shards_stay_when_the_disk_is_full(
    store: Path,
    large: SplitManifest,
    write_split: Writing,
    contents: Contents,
    message_under_limit: Callable[[Path, SplitManifest, int], str],
) -> None:
    folder = write_split(store, large, shards=1)
    before = contents(store)
    assert "no space left" in message_under_limit(store, large, 30_000)
    after = contents(store)
    assert SplitReader(folder).stored_shards() == [0]
    assert {name: after[name] for name in before} == before


def test_run_after_a_full_disk_ends_in_the_same_bytes(
    tmp_path: Path,
    large: SplitManifest,
    write_split: Writing,
    contents: Contents,
    message_under_limit: Callable[[Path, SplitManifest, int], str],
) -> None:
    write_split(tmp_path / "full", large, shards=1)
    assert "no space left" in message_under_limit(tmp_path / "full", large, 30_000)
    write_split(tmp_path / "full", large)
    write_split(tmp_path / "never", large)
    full, never = contents(tmp_path / "full"), contents(tmp_path / "never")
    assert sorted(full) == sorted(never)
    assert [name for name in never if full[name] != never[name]] == []


@pytest.mark.parametrize("limit", [0, 100, 1000])
def test_disk_that_is_full_from_the_start_is_said_so(
    store: Path,
    limit: int,
    large: SplitManifest,
    message_under_limit: Callable[[Path, SplitManifest, int], str],
) -> None:
    assert message_under_limit(store, large, limit).startswith("no space left")


@pytest.mark.parametrize("limit", [3000, 5000])
def test_disk_that_fills_up_while_hdf5_closes_a_file_is_said_so(
    store: Path,
    limit: int,
    split_manifest: SplitOf,
    message_under_limit: Callable[[Path, SplitManifest, int], str],
) -> None:
    manifest = split_manifest(format="hdf5", records=10, shard_size=4, num_tokens=64, dim=128)
    assert message_under_limit(store, manifest, limit).startswith("no space left")


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
def test_write_that_finds_no_space_raises_a_user_error(
    store: Path,
    engine: StoreFormat,
    error: int,
    monkeypatch: pytest.MonkeyPatch,
    split_manifest: SplitOf,
    write_split: Writing,
) -> None:
    def full(*_: object) -> int:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(UserError, match=r"no space left.*goes on from there"):
        write_split(store, split_manifest(format=engine))


def test_other_errors_of_the_disk_are_not_called_a_full_one(
    store: Path,
    engine: StoreFormat,
    monkeypatch: pytest.MonkeyPatch,
    split_manifest: SplitOf,
    write_split: Writing,
) -> None:
    def broken(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pwrite", broken)
    with pytest.raises(OSError, match="Input/output error"):
        write_split(store, split_manifest(format=engine))


def test_short_writes_are_continued(
    tmp_path: Path,
    engine: StoreFormat,
    monkeypatch: pytest.MonkeyPatch,
    split_manifest: SplitOf,
    write_split: Writing,
    contents: Contents,
) -> None:
    write_split(tmp_path / "long", split_manifest(format=engine))
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, content, offset: whole(file, content[:5], offset))
    write_split(tmp_path / "short", split_manifest(format=engine))
    long, short = contents(tmp_path / "long"), contents(tmp_path / "short")
    assert [name for name in long if long[name] != short[name]] == []

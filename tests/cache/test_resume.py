"""A run that was stopped goes on where it stopped, and ends in the same bytes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cache import SplitManifest, StoreFormat, StoreManifest, create_store, open_split_writer
from configs import UserError

SplitOf = Callable[..., SplitManifest]
StoreOf = Callable[..., StoreManifest]
Writing = Callable[..., Path]
Contents = Callable[[Path], dict[str, bytes]]


def _shard_files(contents: dict[str, bytes], shard: int) -> list[str]:
    """Files of `shard`, whole or temporary, in either format."""
    if any(name.endswith("split.h5") for name in contents):
        return [name for name in contents if f"{shard:05d}." in name]
    return [name for name in contents if f"/c/{shard}" in name or f"/c/0/{shard}" in name]


def test_aborted_shard_leaves_no_file(
    store: Path, engine: StoreFormat, split_manifest: SplitOf, contents: Contents
) -> None:
    with open_split_writer(store, split_manifest(format=engine)) as split:
        shard = split.begin(1)
        shard.write("labels", 0, np.zeros(4, dtype=np.int64))
        assert _shard_files(contents(store), 1) != []
        shard.abort()
    assert _shard_files(contents(store), 1) == []


def test_shard_is_seen_only_under_a_temporary_name_until_it_is_committed(
    store: Path, engine: StoreFormat, split_manifest: SplitOf, contents: Contents
) -> None:
    with open_split_writer(store, split_manifest(format=engine)) as split:
        shard = split.begin(0)
        assert {name[-4:] for name in _shard_files(contents(store), 0)} == {".tmp"}
        shard.abort()


def test_unfinished_lists_the_shards_that_are_not_whole(
    store: Path, engine: StoreFormat, split_manifest: SplitOf, write_split: Writing
) -> None:
    manifest = split_manifest(format=engine, records=10, shard_size=3)
    write_split(store, manifest, shards=2)
    with open_split_writer(store, manifest) as split:
        assert split.unfinished() == [2, 3]


def test_incomplete_shard_cannot_be_committed(
    store: Path, engine: StoreFormat, split_manifest: SplitOf
) -> None:
    with open_split_writer(store, split_manifest(format=engine)) as split:
        shard = split.begin(0)
        shard.write("labels", 0, np.zeros(4, dtype=np.int64))
        with pytest.raises(AssertionError, match="is not complete"):
            shard.commit()
        shard.abort()


def test_temporary_files_of_a_killed_run_are_gone_when_it_has_been_resumed(
    store: Path, engine: StoreFormat, split_manifest: SplitOf, write_split: Writing, contents: Contents
) -> None:
    manifest = split_manifest(format=engine)
    with open_split_writer(store, manifest) as split:
        split.begin(0)  # and neither commit nor abort
    assert [name for name in contents(store) if name.endswith(".tmp")] != []
    write_split(store, manifest)
    assert [name for name in contents(store) if name.endswith(".tmp")] == []


def test_resumed_store_has_the_bytes_of_one_written_in_one_go(
    tmp_path: Path,
    engine: StoreFormat,
    split_manifest: SplitOf,
    store_manifest: StoreOf,
    write_split: Writing,
    contents: Contents,
) -> None:
    manifest = split_manifest(format=engine, views=2, records=10, shard_size=3)
    for name in ("resumed", "once"):
        create_store(tmp_path / name, store_manifest())
    write_split(tmp_path / "resumed", manifest, batches=(2,), shards=1)
    with open_split_writer(tmp_path / "resumed", manifest) as split:
        split.begin(1).write("labels", 0, np.full(3, 7))  # of a run that was killed here
    write_split(tmp_path / "resumed", manifest, batches=(1, 2))
    write_split(tmp_path / "once", manifest)
    resumed, once = contents(tmp_path / "resumed"), contents(tmp_path / "once")
    assert sorted(resumed) == sorted(once)
    assert [name for name in once if resumed[name] != once[name]] == []


def test_same_split_gives_the_same_bytes_in_another_second(
    tmp_path: Path,
    engine: StoreFormat,
    split_manifest: SplitOf,
    write_split: Writing,
    contents: Contents,
) -> None:
    manifest = split_manifest(format=engine, records=2, shard_size=2)
    write_split(tmp_path / "one", manifest)
    time.sleep(1 - time.time() % 1)  # HDF5 keeps times in whole seconds
    write_split(tmp_path / "other", manifest)
    one, other = contents(tmp_path / "one"), contents(tmp_path / "other")
    assert [name for name in one if one[name] != other[name]] == []


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("shard_size", {"shard_size": 5}),
        ("dataset.fingerprint", {"fingerprint": "f2"}),
        ("arrays", {"dtype": "bfloat16"}),
        ("records", {"records": 11}),
        ("format", {}),
    ],
)
def test_other_split_is_refused_by_the_name_of_the_field(
    store: Path,
    engine: StoreFormat,
    field: str,
    change: dict[str, object],
    split_manifest: SplitOf,
    write_split: Writing,
) -> None:
    write_split(store, split_manifest(format=engine))
    other = change or {"format": "hdf5" if engine == "zarr" else "zarr"}
    with (
        pytest.raises(UserError, match=rf"another {field} \("),
        open_split_writer(store, split_manifest(**{"format": engine, **other})),
    ):
        pass


def test_refused_writer_changes_no_file(
    store: Path, engine: StoreFormat, split_manifest: SplitOf, write_split: Writing, contents: Contents
) -> None:
    write_split(store, split_manifest(format=engine), shards=1)
    before = contents(store)
    with pytest.raises(UserError), open_split_writer(store, split_manifest(format=engine, fingerprint="f2")):
        pass
    after = contents(store)
    assert [name for name in {**before, **after} if before.get(name) != after.get(name)] == []


def test_opening_a_complete_split_again_rewrites_no_file(
    store: Path,
    engine: StoreFormat,
    split_manifest: SplitOf,
    write_split: Writing,
) -> None:
    manifest = split_manifest(format=engine)
    folder = write_split(store, manifest)
    before = {path: path.stat().st_ino for path in folder.rglob("*")}
    with open_split_writer(store, manifest):
        pass
    assert {path: path.stat().st_ino for path in folder.rglob("*")} == before


def test_two_processes_write_disjoint_shards(
    store: Path, engine: StoreFormat, split_manifest: SplitOf
) -> None:
    manifest = split_manifest(format=engine, records=10, shard_size=2)
    shards = []
    for process in (0, 1):
        with open_split_writer(store, manifest, process=process, processes=2) as split:
            shards.append(split.unfinished())
    assert shards == [[0, 2, 4], [1, 3]]


def test_two_processes_write_the_bytes_of_one(
    tmp_path: Path, engine: StoreFormat, split_manifest: SplitOf, write_split: Writing, contents: Contents
) -> None:
    manifest = split_manifest(format=engine, records=10, shard_size=2)
    write_split(tmp_path / "two", manifest, process=0, processes=2)
    write_split(tmp_path / "two", manifest, process=1, processes=2)
    write_split(tmp_path / "one", manifest)
    two, one = contents(tmp_path / "two"), contents(tmp_path / "one")
    assert sorted(two) == sorted(one)
    assert [name for name in one if two[name] != one[name]] == []


def test_another_number_of_processes_finishes_what_was_begun(
    store: Path, engine: StoreFormat, split_manifest: SplitOf, write_split: Writing
) -> None:
    manifest = split_manifest(format=engine, records=10, shard_size=2)
    write_split(store, manifest, process=1, processes=2)
    with open_split_writer(store, manifest, process=0, processes=3) as split:
        assert split.unfinished() == [0]
    with open_split_writer(store, manifest, process=2, processes=3) as split:
        assert split.unfinished() == [2]


def test_a_lost_manifest_comes_back_as_it_was(
    store: Path, engine: StoreFormat, split_manifest: SplitOf, write_split: Writing, contents: Contents
) -> None:
    folder = write_split(store, split_manifest(format=engine))
    before = contents(store)
    (folder / "manifest.json").unlink()
    write_split(store, split_manifest(format=engine))
    assert contents(store) == before


def test_a_lost_manifest_does_not_come_back_for_other_data(
    store: Path, engine: StoreFormat, split_manifest: SplitOf, write_split: Writing
) -> None:
    folder = write_split(store, split_manifest(format=engine))
    (folder / "manifest.json").unlink()
    with pytest.raises(UserError, match="has lost its manifest"):
        write_split(store, split_manifest(format=engine, fingerprint="f2"))
    assert not (folder / "manifest.json").exists()

"""What a reader says of a split that is not whole, and of questions that it cannot answer."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cache import SplitManifest, SplitReader, StoreFormat, StoreManifest, TokenDataset, create_store
from configs import UserError

SplitOf = Callable[..., SplitManifest]
Writing = Callable[..., Path]

PATCHES = {"zarr": "block3/patches/c/0/1/0/0", "hdf5": "shards/00001.h5"}
"""The file that holds the patches of shard 1."""


@pytest.fixture
def folder(store: Path, engine: StoreFormat, split_manifest: SplitOf, write_split: Writing) -> Path:
    """A complete split of three shards."""
    return write_split(store, split_manifest(format=engine))


@pytest.mark.parametrize("kept", [0, 7])
def test_truncated_file_is_named(folder: Path, engine: StoreFormat, kept: int) -> None:
    os.truncate(folder / PATCHES[engine], kept)
    message = rf"{PATCHES[engine]} is truncated|cannot read .*{PATCHES[engine]}"
    with pytest.raises(UserError, match=message) as raised:
        SplitReader(folder).shard("block3/patches", 1)
    assert "\n" not in str(raised.value)


def test_file_that_lost_its_last_record_is_named(folder: Path, engine: StoreFormat) -> None:
    path = folder / PATCHES[engine]
    records_end = 4 * 3 * 2 * 2 if engine == "zarr" else path.stat().st_size
    os.truncate(path, records_end - 1)
    with pytest.raises(UserError, match=rf"{PATCHES[engine]}.*truncated"):
        SplitReader(folder).shard("block3/patches", 1)


def test_missing_file_is_named(folder: Path, engine: StoreFormat) -> None:
    (folder / PATCHES[engine]).unlink()
    with pytest.raises(UserError, match=PATCHES[engine]) as raised:
        SplitReader(folder).shard("block3/patches", 1)
    assert "\n" not in str(raised.value)


def test_other_shards_of_a_damaged_split_still_read(folder: Path, engine: StoreFormat) -> None:
    (folder / PATCHES[engine]).unlink()
    assert SplitReader(folder).shard("block3/patches", 0).shape == (4, 3, 2)


def test_shard_is_read_only(folder: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        SplitReader(folder).shard("block3/patches", 0)[0] = 0


def test_incomplete_split_says_how_many_shards_are_stored(
    store: Path, engine: StoreFormat, split_manifest: SplitOf, write_split: Writing
) -> None:
    folder = write_split(store, split_manifest(format=engine), shards=2)
    with pytest.raises(UserError, match="incomplete, 2 of 3 shards are stored"):
        SplitReader(folder).require_complete()


@pytest.mark.parametrize(
    ("derived", "command"),
    [((), r"extract \(or `cache derive`\)"), (("cast float16 → int8",), "`cache derive`")],
)
def test_incomplete_split_names_the_command_that_goes_on(
    tmp_path: Path,
    derived: tuple[str, ...],
    command: str,
    store_manifest: Callable[..., StoreManifest],
    split_manifest: SplitOf,
    write_split: Writing,
) -> None:
    create_store(tmp_path, store_manifest().model_copy(update={"derived": derived}))
    folder = write_split(tmp_path, split_manifest(), shards=2)
    with pytest.raises(UserError, match=f"run the {command} command that began it again"):
        SplitReader(folder).require_complete()


def test_stored_shards_are_those_with_a_record(folder: Path) -> None:
    (folder / "shards/00001.json").unlink()
    assert SplitReader(folder).stored_shards() == [0, 2]


def test_missing_array_names_those_there_are(folder: Path) -> None:
    with pytest.raises(UserError, match="no array 'block9/mean'; it holds block3/patches, "):
        SplitReader(folder).shard("block9/mean", 0)


def test_missing_view_says_how_many_there_are(folder: Path) -> None:
    with pytest.raises(UserError, match=r"holds 1 view\(s\) of block3/patches, not view 1"):
        SplitReader(folder).shard("block3/patches", 0, view=1)


def test_missing_split_is_named(store: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*digits/none/manifest\.json"):
        SplitReader(store / "digits/none")


@pytest.mark.parametrize("file", ["manifest.json", "shards/00001.json"])
def test_file_of_unknown_fields_is_named(folder: Path, file: str) -> None:
    (folder / file).write_text('{"colour": "red"}')
    with pytest.raises(UserError, match=rf"{file} is damaged"):
        SplitReader(folder).shard_record(1)


@pytest.mark.parametrize("file", ["manifest.json", "shards/00001.json"])
def test_damaged_json_is_named(folder: Path, file: str) -> None:
    os.truncate(folder / file, (folder / file).stat().st_size // 2)
    with pytest.raises(UserError, match=rf"{file} is damaged"):
        SplitReader(folder).shard_record(1)


def test_reader_with_open_maps_can_be_pickled(folder: Path) -> None:
    reader = SplitReader(folder)
    expected = np.array(reader.shard("block3/patches", 1))
    unpickled = pickle.loads(pickle.dumps(reader))
    np.testing.assert_array_equal(unpickled.shard("block3/patches", 1), expected)


def test_pickled_reader_carries_no_tokens(folder: Path) -> None:
    reader = SplitReader(folder)
    unused = pickle.dumps(reader)
    reader.shard("block3/patches", 1)
    assert pickle.dumps(reader) == unused


def test_pickling_leaves_the_open_maps(folder: Path) -> None:
    reader = SplitReader(folder)
    opened = reader.shard("block3/patches", 1)
    pickle.dumps(reader)
    assert reader.shard("block3/patches", 1) is opened


def test_data_set_of_an_incomplete_split_is_refused(
    store: Path, engine: StoreFormat, split_manifest: SplitOf, write_split: Writing
) -> None:
    folder = write_split(store, split_manifest(format=engine), shards=1)
    with pytest.raises(UserError, match="incomplete, 1 of 3 shards"):
        TokenDataset(SplitReader(folder), 3, ["patches"])


def test_missing_block_names_those_there_are(folder: Path) -> None:
    with pytest.raises(UserError, match=r"holds block 3, not block 2: extract or derive it with --blocks"):
        TokenDataset(SplitReader(folder), 2, ["patches"])


def test_missing_prefix_tokens_are_explained(
    store: Path, engine: StoreFormat, split_manifest: SplitOf, write_split: Writing
) -> None:
    folder = write_split(store, split_manifest(format=engine, num_prefix=0))
    with pytest.raises(UserError, match=r"no prefix of block 3; .*probe the patches or their mean"):
        TokenDataset(SplitReader(folder), 3, ["patches", "prefix"])


def test_missing_normed_mean_is_explained(
    store: Path, engine: StoreFormat, split_manifest: SplitOf, write_split: Writing
) -> None:
    folder = write_split(store, split_manifest(format=engine, normed_mean=False))
    with pytest.raises(UserError, match=r"no mean_normed of block 3; .*use --tokens pre"):
        TokenDataset(SplitReader(folder), 3, ["mean_normed"])

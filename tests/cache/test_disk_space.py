"""Whether a disk can hold what is to be stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cache import SplitManifest, StoreFormat, free_bytes, missing_bytes
from cache.disk_space import existing_folder, require_space
from configs import UserError

RECORD = 3 * 2 * 2 + 2 * 2 + 2 * 2 * 4 + 2 * 8
"""Bytes of a record: 3 patches and [CLS] of width 2 in float16, two means in float32, label and sample_id."""


def test_the_disk_of_a_folder_to_be_is_that_of_the_nearest_one_there_is(tmp_path: Path) -> None:
    assert existing_folder(tmp_path / "not" / "yet") == tmp_path
    assert free_bytes(tmp_path / "not" / "yet") > 0


def test_the_disk_of_a_closed_folder_is_known(closed: Path) -> None:
    assert existing_folder(closed / "not" / "yet") == closed


def test_all_records_of_a_split_that_is_not_there_are_missing(
    closed: Path, tmp_path: Path, split_manifest: Callable[..., SplitManifest]
) -> None:
    for store in (tmp_path / "none", closed / "none"):
        assert missing_bytes(store, split_manifest(records=10)) == 10 * RECORD


def test_records_in_whole_shards_are_not_missing(
    store: Path,
    engine: StoreFormat,
    split_manifest: Callable[..., SplitManifest],
    write_split: Callable[..., Path],
) -> None:
    manifest = split_manifest(format=engine, records=10, shard_size=4)
    folder = write_split(store, manifest)
    assert missing_bytes(store, manifest) == 0
    (folder / "shards/00001.json").unlink()
    assert missing_bytes(store, manifest) == 4 * RECORD


def test_a_store_that_fits_exactly_is_allowed(tmp_path: Path) -> None:
    require_space(tmp_path, 100, 100, "free some")


def test_a_store_that_does_not_fit_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        require_space(tmp_path, 2_000_000, 1_000_000, "free some")
    assert str(refused.value) == f"{tmp_path} needs 2.00 MB more, and 1.00 MB are free there: free some"

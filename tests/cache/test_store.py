"""A store is of one backbone, and says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cache import SplitManifest, Store, StoreManifest, create_store
from configs import UserError

StoreOf = Callable[..., StoreManifest]
SplitOf = Callable[..., SplitManifest]
Writing = Callable[..., Path]


def test_store_opens_with_the_manifest_it_was_made_with(store: Path, store_manifest: StoreOf) -> None:
    assert Store(store).manifest == store_manifest()


@pytest.mark.parametrize(
    ("field", "change"),
    [("backbone.weights_sha256", {"weights_sha256": "11ee"}), ("dtype", {"dtype": "float32"})],
)
def test_other_backbone_is_refused_by_the_name_of_the_field(
    store: Path, field: str, change: dict[str, str], store_manifest: StoreOf
) -> None:
    with pytest.raises(UserError, match=rf"another {field} \("):
        create_store(store, store_manifest(**change))


def test_a_folder_that_may_not_be_searched_is_one_clear_line(closed: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*closed/store \(Permission denied\)"):
        Store(closed / "store")


def test_refusal_tells_both_values(store: Path, store_manifest: StoreOf) -> None:
    with pytest.raises(UserError, match="00ff there, 11ee here"):
        create_store(store, store_manifest(weights_sha256="11ee"))


def test_refused_backbone_changes_no_file(
    store: Path, store_manifest: StoreOf, contents: Callable[[Path], dict[str, bytes]]
) -> None:
    before = contents(store)
    with pytest.raises(UserError):
        create_store(store, store_manifest(weights_sha256="11ee"))
    assert contents(store) == before


def test_other_versions_of_the_libraries_are_accepted(store: Path, store_manifest: StoreOf) -> None:
    create_store(store, store_manifest(versions={"torch": "99"}))
    assert Store(store).manifest.versions == store_manifest().versions


def test_empty_folder_becomes_a_store(tmp_path: Path, store_manifest: StoreOf) -> None:
    create_store(tmp_path, store_manifest())
    assert Store(tmp_path).splits() == {}


def test_folder_of_other_things_is_refused(tmp_path: Path, store_manifest: StoreOf) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="is not a store"):
        create_store(tmp_path, store_manifest())


def test_file_in_place_of_a_store_is_refused(tmp_path: Path, store_manifest: StoreOf) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match="is a file"):
        create_store(tmp_path / "taken", store_manifest())


def test_store_that_was_killed_while_it_was_made_can_be_made_again(
    tmp_path: Path, store_manifest: StoreOf
) -> None:
    (tmp_path / "manifest.json.tmp").write_text('{"form')
    create_store(tmp_path, store_manifest())
    assert Store(tmp_path).manifest == store_manifest()


def test_missing_store_names_those_beside_it(store: Path) -> None:
    with pytest.raises(UserError, match=r"no store at .*tyni; .* holds tiny"):
        Store(store.parent / "tyni")


def test_missing_store_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="extract --backbone"):
        Store(tmp_path / "none")


def test_splits_are_listed_by_data_set(store: Path, split_manifest: SplitOf, write_split: Writing) -> None:
    for split in ("train", "test"):
        write_split(store, split_manifest(split=split, records=2))
    assert Store(store).splits() == {"digits": ["test", "train"]}


def test_missing_split_names_those_there_are(
    store: Path, split_manifest: SplitOf, write_split: Writing
) -> None:
    write_split(store, split_manifest(records=2))
    with pytest.raises(UserError, match="no split 'val' of digits; it has train"):
        Store(store).split("digits", "val")


def test_only_data_set_needs_no_name(store: Path, split_manifest: SplitOf, write_split: Writing) -> None:
    write_split(store, split_manifest(records=2))
    assert Store(store).dataset(None) == "digits"


def test_missing_data_set_names_those_there_are(
    store: Path, split_manifest: SplitOf, write_split: Writing
) -> None:
    write_split(store, split_manifest(records=2))
    with pytest.raises(UserError, match="holds digits: not 'cifar'"):
        Store(store).dataset("cifar")


def test_store_of_another_format_version_is_refused(store: Path) -> None:
    manifest = store / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(UserError, match="not of format 1"):
        Store(store)


@pytest.mark.parametrize("content", ["[]", '{"dtype": "float16"}'])
def test_damaged_manifest_is_named(store: Path, content: str) -> None:
    (store / "manifest.json").write_text(content)
    with pytest.raises(UserError, match=r"tiny/manifest\.json is damaged"):
        Store(store)


@pytest.mark.parametrize("content", ['{"format_version": 1', "", "\0\0\0\0"])
def test_manifest_that_is_no_json_is_named(store: Path, content: str) -> None:
    (store / "manifest.json").write_text(content)
    with pytest.raises(UserError, match=r"tiny/manifest\.json is damaged") as raised:
        Store(store)
    assert "\n" not in str(raised.value)

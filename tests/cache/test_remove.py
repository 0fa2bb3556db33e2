"""Removing a store or a part of it: what goes, what stays, and what is never left behind."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from cache import FinalNorm, SplitManifest, SplitReader, Store, StoreFormat, open_split_writer, verify_store
from cache.remove import RemoveOptions, remove
from configs import UserError

SplitOf = Callable[..., SplitManifest]
Writing = Callable[..., Path]
Contents = Callable[[Path], dict[str, bytes]]
Forked = Callable[..., AbstractContextManager[BaseProcess]]


@pytest.fixture
def tmp_path(quick_folder: Path) -> Iterator[Path]:
    """In memory: flushing every small file to a disk would take nine tenths of the time."""
    with tempfile.TemporaryDirectory(dir=quick_folder) as folder:
        yield Path(folder)


@pytest.fixture
def filled(store: Path, engine: StoreFormat, split_manifest: SplitOf, write_split: Writing) -> Path:
    """A store with the splits train and test."""
    for split in ("train", "test"):
        write_split(store, split_manifest(format=engine, split=split))
    return store


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | type[BaseException]], list[str]]:
    """Answer the question as on a terminal, or end it with an error; the questions that were asked."""

    def answering(reply: str | type[BaseException]) -> list[str]:
        asked: list[str] = []

        def question(text: str) -> str:
            asked.append(text)
            if isinstance(reply, str):
                return reply
            raise reply

        monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
        monkeypatch.setattr("builtins.input", question)
        return asked

    return answering


def rm(path: Path, **options: object) -> None:
    remove(RemoveOptions(path=path, **{"yes": True, **options}))


def damages(store: Path) -> list[object]:
    return list(verify_store(Store(store), 2, lambda _: None))


def test_nothing_is_left_of_a_store(filled: Path) -> None:
    rm(filled)
    assert not filled.exists()
    assert filled.parent.is_dir()


def test_what_goes_is_shown_and_summed_up(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rm(filled)
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition(",")[0] for line in lines[:2]] == [
        f"{filled}/digits/test: 10 records",
        f"{filled}/digits/train: 10 records",
    ]
    assert lines[2].startswith(f"removed {filled} (")


def test_a_removed_split_leaves_the_others_sound(filled: Path, contents: Contents) -> None:
    before = contents(filled)
    rm(filled, dataset="digits", split="test")
    kept = {name: content for name, content in before.items() if not name.startswith("digits/test/")}
    assert contents(filled) == kept
    assert not (filled / "digits/test").exists()
    assert damages(filled) == []


def test_the_last_split_of_a_data_set_takes_its_folder_along(filled: Path) -> None:
    rm(filled, dataset="digits", split="test")
    rm(filled, dataset="digits", split="train")
    assert not (filled / "digits").exists()
    assert Store(filled).splits() == {}
    assert damages(filled) == []


def test_a_data_set_is_removed_with_all_its_splits(
    filled: Path, split_manifest: SplitOf, write_split: Writing
) -> None:
    other = split_manifest(split="all")
    other = other.model_copy(update={"dataset": other.dataset.model_copy(update={"name": "letters"})})
    write_split(filled, other)
    rm(filled, dataset="digits")
    assert Store(filled).splits() == {"letters": ["all"]}
    assert damages(filled) == []


def test_an_empty_store_is_removed(store: Path) -> None:
    FinalNorm("layer_norm", 1e-6, None, None).save(store)
    rm(store)
    assert not store.exists()


@pytest.mark.parametrize("reply", ["y", "Y", "yes "])
def test_the_question_is_asked_on_a_terminal(
    filled: Path, reply: str, answer: Callable[[str], list[str]]
) -> None:
    asked = answer(reply)
    rm(filled, yes=False)
    assert asked == [f"remove {filled}? [y/N] "]
    assert not filled.exists()


@pytest.mark.parametrize("reply", ["", "n", "yess", EOFError])
def test_any_other_answer_keeps_everything(
    filled: Path, reply: str | type[BaseException], answer: Callable[..., list[str]], contents: Contents
) -> None:
    answer(reply)
    before = contents(filled)
    with pytest.raises(SystemExit) as ended:
        rm(filled, yes=False)
    assert ended.value.code == 1
    assert contents(filled) == before


def test_without_a_terminal_nothing_goes_unless_told(
    filled: Path, monkeypatch: pytest.MonkeyPatch, contents: Contents
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    before = contents(filled)
    with pytest.raises(UserError, match="no terminal to ask on: give --yes"):
        rm(filled, yes=False)
    assert contents(filled) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "train"}, "--split needs --dataset"),
        ({"dataset": "digit"}, "holds digits/test, digits/train, not digit$"),
        ({"dataset": "digits", "split": "val"}, "holds digits/test, digits/train, not digits/val"),
        ({"dataset": "..", "split": "."}, "holds digits/test, digits/train"),
    ],
)
def test_what_the_store_does_not_hold_is_refused(
    filled: Path, options: dict[str, str], message: str, contents: Contents
) -> None:
    before = contents(filled)
    with pytest.raises(UserError, match=message):
        rm(filled, **options)
    assert contents(filled) == before


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path, contents: Contents) -> None:
    for folder in (tmp_path, tmp_path / "packages/one"):
        folder.mkdir(parents=True, exist_ok=True)
    with pytest.raises(UserError, match=r"no store at .*, and rm removes nothing else"):
        rm(tmp_path)
    for name in ("manifest.json", "packages/one/manifest.json"):  # as other programs have them, too
        (tmp_path / name).write_text('{"name": "an extension"}')
    before = contents(tmp_path)
    with pytest.raises(UserError, match="is no store, and rm removes nothing else"):
        rm(tmp_path)
    assert contents(tmp_path) == before


def test_a_store_with_a_damaged_manifest_is_removed_only_when_told(
    filled: Path, answer: Callable[[str], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = answer("y")
    (filled / "manifest.json").write_text("{}")
    with pytest.raises(UserError, match="give --yes to remove it all the same"):
        rm(filled, yes=False)
    assert asked == []
    rm(filled)
    assert "is damaged" in capsys.readouterr().out.splitlines()[0]
    assert not filled.exists()


def test_a_split_with_a_lost_or_damaged_manifest_is_removed(
    filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (filled / "digits/test/manifest.json").unlink()
    (filled / "digits/train/manifest.json").write_text("{}")
    rm(filled)
    assert capsys.readouterr().out.count("its manifest is missing or damaged") == 2
    assert not filled.exists()


def _write_and_wait(store: Path, manifest: SplitManifest, process: int, ready: Connection) -> None:
    with open_split_writer(store, manifest, process=process, processes=2) as split:
        split.begin(process)
        ready.send(True)
        time.sleep(60)


@pytest.mark.parametrize("process", [0, 1])
@pytest.mark.parametrize("options", [{}, {"dataset": "digits", "split": "train"}])
def test_nothing_goes_while_somebody_writes(
    filled: Path,
    engine: StoreFormat,
    process: int,
    options: dict[str, str],
    split_manifest: SplitOf,
    forked: Forked,
    contents: Contents,
) -> None:
    receive, send = get_context("fork").Pipe(duplex=False)
    with forked(_write_and_wait, filled, split_manifest(format=engine), process, send):
        assert receive.poll(60)
        before = contents(filled)
        with pytest.raises(UserError, match="is being written by process"):
            rm(filled, **options)
        after = contents(filled)
    assert sorted(after) == sorted(before)


def test_a_link_to_a_store_is_not_followed(filled: Path, tmp_path: Path, contents: Contents) -> None:
    before = contents(filled)
    (tmp_path / "link").symlink_to(filled)
    with pytest.raises(UserError, match=f"is a link to {filled}: give that path itself"):
        rm(tmp_path / "link")
    assert contents(filled) == before


@pytest.mark.parametrize("place", ["digits", "digits/train", "digits/train/shards", "digits/train/block3"])
def test_links_inside_a_store_are_not_followed(
    filled: Path, tmp_path: Path, engine: StoreFormat, place: str, contents: Contents
) -> None:
    (filled / place).mkdir(exist_ok=True)  # HDF5 has no folder for a block
    (filled / place).rename(tmp_path / "elsewhere")
    (filled / place).symlink_to(tmp_path / "elsewhere")
    before = contents(tmp_path)
    with pytest.raises(UserError, match=f"{place} is a link, and rm follows none: remove the link first"):
        rm(filled)
    assert contents(tmp_path) == before


def test_files_that_are_no_part_of_the_store_stay(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (filled / "notes").mkdir()
    (filled / "notes/probe.txt").write_text("mine")
    (filled / "digits/readme.txt").write_text("mine, too")
    rm(filled)
    held = {str(path.relative_to(filled)) for path in filled.rglob("*") if path.is_file()}
    assert held - {"digits/zarr.json"} == {"notes/probe.txt", "digits/readme.txt"}
    assert "; digits, notes stays there" in capsys.readouterr().out


@pytest.mark.parametrize("fails", [0, 1, 2])
def test_a_half_removed_split_is_never_taken_for_whole(
    filled: Path,
    engine: StoreFormat,
    fails: int,
    monkeypatch: pytest.MonkeyPatch,
    split_manifest: SplitOf,
    write_split: Writing,
    contents: Contents,
) -> None:
    before, calls, whole = contents(filled), [], shutil.rmtree

    def stopped(path: Path) -> None:
        if len(calls) == fails:
            raise KeyboardInterrupt
        calls.append(path)
        whole(path)

    monkeypatch.setattr(shutil, "rmtree", stopped)
    try:
        rm(filled, dataset="digits", split="train")
    except KeyboardInterrupt:
        with pytest.raises(UserError, match="is incomplete, 0 of 3 shards"):
            SplitReader(filled / "digits/train").require_complete()
    monkeypatch.undo()
    write_split(filled, split_manifest(format=engine))  # what made it completes it
    assert contents(filled) == before


def test_an_interrupted_removal_is_finished_by_the_same_command(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", stopped)
    with pytest.raises(KeyboardInterrupt):
        rm(filled)
    monkeypatch.undo()
    rm(filled)
    assert not filled.exists()


def test_what_the_system_forbids_is_said_in_one_line(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(shutil, "rmtree", forbidden)
    with pytest.raises(UserError, match=f"cannot remove {filled}/digits/test/.*: Permission denied"):
        rm(filled)

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cache import SplitManifest
from cache.command import main


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """`cache WORDS`: its exit code, standard output and standard error."""

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cache", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return (int(ended.value.code or 0), *capsys.readouterr())

    return command


@pytest.fixture
def filled(
    store: Path, split_manifest: Callable[..., SplitManifest], write_split: Callable[..., Path]
) -> Path:
    write_split(store, split_manifest())
    return store


Run = Callable[..., tuple[int, str, str]]


def test_info_prints_tables(filled: Path, run: Run) -> None:
    code, out, err = run("info", str(filled))
    assert (code, err) == (0, "")
    assert "digits/train" in out


def test_info_as_json_parses(filled: Path, run: Run) -> None:
    code, out, err = run("info", str(filled), "--json")
    assert (code, err) == (0, "")
    info = json.loads(out)
    assert info["backbone"]["name"] == "tiny"
    assert info["splits"]["digits/train"]["images_per_class"][1] == {"class": 1, "name": "dog", "images": 5}


def test_unknown_verb_is_one_line_and_exit_code_2(run: Run) -> None:
    code, out, err = run("infos")
    assert (code, out) == (2, "")
    assert err == "cache: unknown verb of cache 'infos'; did you mean info?\n"


def test_missing_store_is_one_line_and_exit_code_2(filled: Path, run: Run) -> None:
    code, out, err = run("info", str(filled) + "y")
    assert (code, out) == (2, "")
    assert err.startswith("cache: no store at ")
    assert err.count("\n") == 1


def test_without_a_verb_the_verbs_are_told_and_the_exit_code_is_2(run: Run) -> None:
    verbs = "info, verify, derive, rm, plan, repair"
    assert run() == (2, "", f"cache: say what to do: {verbs}; see `cache --help`\n")


def test_an_interrupted_derivation_says_how_to_go_on(
    filled: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cache.derive.write_tokens", interrupt)
    code, out, err = run("derive", str(filled), f"{filled}_int8", "--dtype", "int8")
    assert (code, out) == (130, "")
    assert err == "cache: interrupted: whole shards are kept, the same command goes on from there\n"


def test_a_sound_store_is_verified_with_exit_code_0(filled: Path, run: Run) -> None:
    code, out, err = run("verify", str(filled))
    assert (code, err) == (0, "")
    assert out.startswith(f"{filled}: no damage; ")


def test_shards_that_are_not_stored_are_no_damage_but_told(filled: Path, run: Run) -> None:
    next(filled.rglob("shards/*.json")).unlink()
    code, out, _ = run("verify", str(filled))
    assert code == 0
    assert re.search(r"\d of \d shards are stored: the command that made it goes on", out)


def test_a_damaged_manifest_of_a_split_is_named_with_exit_code_1(filled: Path, run: Run) -> None:
    path = next(filled.glob("*/*/manifest.json"))
    path.write_text("{")
    code, out, err = run("verify", str(filled))
    assert (code, err) == (1, "")
    assert str(path.parent) in out


def test_damage_is_named_with_exit_code_1(filled: Path, run: Run) -> None:
    path = next(filled.rglob("labels/c/0"))
    path.unlink()
    code, out, _ = run("verify", str(filled))
    assert code == 1
    assert out.splitlines()[0] == f"{path}: is missing"
    code, out, _ = run("verify", str(filled), "--json")
    assert code == 1
    assert json.loads(out) == [{"path": str(path), "what": "is missing"}]


@pytest.mark.parametrize(
    ("words", "shown"),
    [(["--help"], "Show what a store holds"), (["info", "--help"], "cache info cache/mae_digits")],
)
def test_help_is_no_error(words: list[str], shown: str, run: Run) -> None:
    code, out, err = run(*words)
    assert (code, err) == (0, "")
    assert shown in out

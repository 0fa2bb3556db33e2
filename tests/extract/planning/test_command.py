"""`cache plan`, and `extract --plan`, as commands; every rate is stated, so that they are quick."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cache.command import main as cache
from extract.command import main as extract
from extract.planning.rates import Rates

Run = Callable[..., tuple[int, str, str]]
DIGITS = ("--backbone", "mae_digits", "--dataset", "digits")
DIGIT = 64 * 96 * 2 + 96 * 2 + 2 * 96 * 4 + 2 * 8


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A command's exit code, standard output and standard error."""

    def ended(command: str, *words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [command, *words])
        with pytest.raises(SystemExit) as exited:
            {"cache": cache, "extract": extract}[command]()
        return (int(exited.value.code or 0), *capsys.readouterr())

    return ended


@pytest.fixture
def rates(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """A file that states every rate as 1e9, with changes."""

    def file(**changes: float) -> str:
        path = tmp_path_factory.mktemp("rates") / "rates.yaml"
        stated = {name: changes.get(name, 1e9) for name in Rates.model_fields}
        path.write_text("".join(f"{name}: {value}\n" for name, value in stated.items()))
        return str(path)

    return file


def test_a_plan_is_printed_and_nothing_is_written(
    tmp_path: Path, run: Run, rates: Callable[..., str]
) -> None:
    code, out, err = run("cache", "plan", *DIGITS, "--rates", rates())
    assert (code, err) == (0, "")
    assert out.startswith(
        "plan: mae_digits over digits, train 1,437 + test 360 images\nblock 5, 8×8 tokens of 96 and cls; "
    )
    assert list(tmp_path.iterdir()) == []


def test_a_plan_as_json_parses(run: Run, rates: Callable[..., str]) -> None:
    code, out, err = run("cache", "plan", *DIGITS, "--rates", rates(), "--json", "--probe-epochs", "7")
    assert (code, err) == (0, "")
    plan = json.loads(out)
    assert plan["dtypes"]["float16"]["bytes"]["asked"] == 1797 * DIGIT
    assert plan["probe_epochs"] == 7


def test_the_rates_of_a_plan_are_a_file_of_rates(tmp_path: Path, run: Run, rates: Callable[..., str]) -> None:
    words = (*DIGITS, "--json", "--rates")
    plan = json.loads(run("cache", "plan", *words, rates())[1])
    (tmp_path / "again.yaml").write_text(json.dumps(plan["rates"]))
    again = json.loads(run("cache", "plan", *words, "again.yaml")[1])
    assert {**again, "origins": plan["origins"]} == plan


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_disk_that_is_too_small_is_planned_and_refused(
    run: Run, rates: Callable[..., str], words: tuple[str, ...]
) -> None:
    small = rates(disk_free_bytes=1797 * DIGIT - 1)
    code, out, err = run("cache", "plan", *DIGITS, "--rates", small, *words)
    assert code == 2
    assert out.startswith("{" if words else "plan: mae_digits")
    assert err == (
        "cache: cache/mae_digits needs 23.84 MB more, and 23.84 MB are free there: choose another --out, "
        "--dtype int8 or fewer --blocks, or --force\n"
    )
    assert run("cache", "plan", *DIGITS, "--rates", small, *words, "--force")[::2] == (0, "")
    assert run("cache", "plan", *DIGITS, "--rates", small, *words, "--dtype", "int8")[::2] == (0, "")


def test_views_and_parts_are_planned(run: Run, rates: Callable[..., str]) -> None:
    words = ("--views", "4", "--part", "2/3", "--rates", rates())
    code, out, err = run("cache", "plan", *DIGITS, *words)
    assert (code, err) == (0, "")
    assert out.startswith("plan: mae_digits over digits, train 1,437 × 4 views + test 360 images\n")
    assert "part 2/3" in " ".join(out.split())
    plan = json.loads(run("cache", "plan", *DIGITS, *words, "--json")[1])
    assert (plan["views"], plan["part"]) == ({"train": 4, "test": 1}, "2/3")
    assert plan["dtypes"]["float16"]["bytes"]["asked"] == 1797 * DIGIT + 3 * 1437 * (DIGIT - 16)


def test_a_plan_of_views_without_a_training_split_is_refused(run: Run, rates: Callable[..., str]) -> None:
    code, _, err = run("cache", "plan", *DIGITS, "--views", "4", "--split", "test", "--rates", rates())
    assert code == 2
    assert err.startswith("cache: --views 4 is for training splits")


@pytest.mark.usefixtures("quick")
def test_extract_with_plan_counts_views_and_parts(run: Run) -> None:
    words = ("--views", "3", "--augment", "rrc_flip", "--part", "1/2", "--workers", "0", "--limit", "300")
    code, out, err = run("extract", *DIGITS, *words, "--plan", "--json")
    assert (code, err) == (0, "")
    plan = json.loads(out)
    assert (plan["views"]["train"], plan["part"]) == (3, "1/2")
    assert plan["dtypes"]["float16"]["bytes"]["asked"] == 600 * DIGIT + 2 * 300 * (DIGIT - 16)


def test_what_is_stored_already_needs_no_room(run: Run, rates: Callable[..., str]) -> None:
    assert run("extract", *DIGITS, "--split", "test", "--workers", "0")[0] == 0
    small = rates(disk_free_bytes=1437 * DIGIT)
    code, out, err = run("cache", "plan", *DIGITS, "--rates", small)
    assert (code, err) == (0, "")
    assert "19.06 MB are free on the disk, and 4.78 MB are stored already" in " ".join(out.split())


def test_rates_that_are_nonsense_are_one_line(tmp_path: Path, run: Run) -> None:
    (tmp_path / "rates.yaml").write_text("backbone_images_per_second: -3\n")
    code, out, err = run("cache", "plan", *DIGITS, "--rates", "rates.yaml")
    assert (code, out) == (2, "")
    assert err.startswith("cache: rates.yaml: backbone_images_per_second: Input should be greater than 0")
    assert err.count("\n") == 1


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measurements that take no time."""
    for module in ("image_rates", "byte_rates"):
        monkeypatch.setattr(f"extract.planning.{module}.SECONDS", 0.02)
    monkeypatch.setattr("extract.planning.byte_rates.LARGEST_FILE", 2 * 2**20)


def sizes(lines: list[str]) -> list[list[str]]:
    """Every dtype with its bytes, for three choices of blocks; times differ from plan to plan."""
    rows = [line.split("│")[1:5] for line in lines if line.endswith((" backbone     │", " decoding     │"))]
    assert len(rows) == 4
    return rows


@pytest.mark.usefixtures("quick")
def test_extract_with_plan_prints_the_same_tables_and_extracts_nothing(tmp_path: Path, run: Run) -> None:
    words = (*DIGITS, "--dtype", "int8", "--blocks", "2,5", "--workers", "0", "--limit", "300")
    ended = [run("extract", *words, "--plan"), run("cache", "plan", *words)]
    assert [(code, err) for code, _, err in ended] == [(0, ""), (0, "")]
    first, second = (out.splitlines() for _, out, _ in ended)
    assert first[0] == second[0]
    assert sizes(first) == sizes(second)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_extract_with_plan_refuses_a_disk_that_is_too_small(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 20 * 2**20))
    code, out, err = run("extract", *DIGITS, "--plan", "--workers", "0")
    assert code == 2
    assert out.startswith("plan: mae_digits over digits")
    assert err.startswith("extract: cache/mae_digits needs 23.84 MB more, and 20.97 MB are free there")
    assert list(tmp_path.iterdir()) == []


def test_the_help_names_every_option(run: Run) -> None:
    code, out, err = run("cache", "plan", "--help")
    assert (code, err) == (0, "")
    for option in ("--rates", "--images", "--probe-epochs", "--json", "--force", "--blocks", "--dtype"):
        assert option in out

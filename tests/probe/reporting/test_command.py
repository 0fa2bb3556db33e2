"""`probe report`, and the page that `probe fit` leaves."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from configs import UserError
from probe import FitOptions, run_fit
from probe.reporting import read_run

RunProbe = Callable[..., tuple[int, str, str]]
RunOf = Callable[[str], Path]


def test_answers_of_all_runs_stand_best_first(run_of: RunOf, run_probe: RunProbe, tmp_path: Path) -> None:
    folders = [run_of(kind) for kind in ("one", "rates")]
    code, output, _ = run_probe("report", *folders, "--out", tmp_path / "talk")
    assert code == 0
    table = output[output.rindex("top-1 on animals/validation, last epoch") :]  # the runs print theirs before
    rows = [line.split("│")[1].strip() for line in table.splitlines() if line.startswith("│")]
    scores = {folder.name: read_run(folder).answers[0]["top1"] for folder in folders}
    assert rows == sorted(scores, key=lambda name: -scores[name])
    assert output.endswith(f"report: {tmp_path / 'talk' / 'report.html'}\n")
    assert (tmp_path / "talk" / "costs.svg").exists()


def test_runs_on_other_images_have_a_table_of_their_own(
    run_of: RunOf, run_probe: RunProbe, changed_run: Callable[..., Path], tmp_path: Path
) -> None:
    other = changed_run("one", lambda results: results["config"]["evaluation"].update(name="other"))
    code, output, _ = run_probe("report", run_of("rates"), other, "--out", tmp_path / "talk")
    assert code == 0
    assert "top-1 on animals/validation, last epoch" in output
    assert "top-1 on other/validation, last epoch" in output
    _, output, _ = run_probe("report", run_of("rates"), other, "--out", tmp_path / "talk", "--json")
    assert {row["evaluation"] for row in json.loads(output)["answers"]} == {
        "animals/validation",
        "other/validation",
    }


def test_a_run_that_was_stopped_is_left_out_beside_others(
    run_of: RunOf, run_probe: RunProbe, tmp_path: Path
) -> None:
    (tmp_path / "stopped").mkdir()
    code, output, error = run_probe("report", run_of("one"), tmp_path / "stopped", "--out", tmp_path / "talk")
    assert code == 0
    assert error == f"left out: {tmp_path / 'stopped'} holds no finished run (results.json is missing)\n"
    assert "│ one" in output


@pytest.mark.parametrize(("kind", "held_out"), [("one", False), ("rates", True)])
def test_the_held_out_column_is_there_where_images_were_held_out(
    run_of: RunOf, run_probe: RunProbe, tmp_path: Path, kind: str, held_out: bool
) -> None:
    code, output, _ = run_probe("report", run_of(kind), "--out", tmp_path)
    assert code == 0
    heading = next(line for line in output.splitlines() if line.startswith("┃ run"))
    assert ("held-out" in heading) == held_out


def test_a_misspelt_run_is_refused_beside_others(run_of: RunOf, run_probe: RunProbe, tmp_path: Path) -> None:
    code, _, error = run_probe("report", run_of("one"), tmp_path / "onne")
    assert code == 2
    assert error == f"probe: {tmp_path / 'onne'} holds no finished run (results.json is missing)\n"


def test_no_name_is_cut_where_no_terminal_limits_the_table(
    run_of: RunOf, run_probe: RunProbe, tmp_path: Path
) -> None:
    run = shutil.copytree(run_of("one"), tmp_path / ("long" * 25))
    assert run.name in run_probe("report", run, run_of("blocks"), "--out", tmp_path / "talk")[1]


def test_a_page_of_several_runs_goes_beside_them_and_is_no_run(run_of: RunOf, run_probe: RunProbe) -> None:
    folders = [run_of(kind) for kind in ("one", "rates")]
    beside = folders[0].parent / "report"
    for words in (folders, [*folders, beside]):
        code, output, _ = run_probe("report", *words)
        assert code == 0
        assert output.endswith(f"report: {beside / 'report.html'}\n")


def test_a_page_of_one_run_goes_into_its_folder(run_of: RunOf, run_probe: RunProbe) -> None:
    code, _, _ = run_probe("report", run_of("one"))
    assert code == 0
    assert (run_of("one") / "report.html").exists()


def test_a_fit_writes_its_page_unless_told_not_to(
    options: Callable[..., FitOptions], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_fit(options(report=True, epochs=1, name="with"))
    assert f"report:  {tmp_path / 'runs' / 'with' / 'report.html'}" in capsys.readouterr().out
    assert (tmp_path / "runs" / "with" / "report.html").exists()
    run_fit(options(report=False, epochs=1, name="without"))
    assert not (tmp_path / "runs" / "without" / "report.html").exists()


def test_a_fit_whose_page_cannot_be_written_says_how_to_get_it(
    options: Callable[..., FitOptions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("probe.reporting.page.write_bytes", full)
    run = tmp_path / "runs" / "full"
    with pytest.raises(UserError) as refused:
        run_fit(options(report=True, epochs=1, name="full"))
    assert str(refused.value) == (
        f"cannot write the report into {run} (No space left on device): "
        f"`probe report {run} --out FOLDER` writes it elsewhere"
    )
    assert (run / "results.json").exists()


def test_a_folder_without_results_is_refused(run_probe: RunProbe, tmp_path: Path) -> None:
    code, _, error = run_probe("report", tmp_path)
    assert code == 2
    assert error == f"probe: {tmp_path} holds no finished run (results.json is missing)\n"


def test_damaged_results_are_refused(run_probe: RunProbe, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{")
    code, _, error = run_probe("report", tmp_path)
    assert code == 2
    assert error.startswith(f"probe: {tmp_path / 'results.json'} is damaged")
    assert error.count("\n") == 1


@pytest.mark.parametrize("name", ["metrics.jsonl", "predictions.safetensors"])
def test_a_damaged_file_of_a_finished_run_is_named(
    run_of: RunOf, run_probe: RunProbe, tmp_path: Path, name: str
) -> None:
    run = shutil.copytree(run_of("one"), tmp_path / "run")
    (run / name).write_bytes((run / name).read_bytes()[:-30])
    code, _, error = run_probe("report", run)
    assert code == 2
    assert error.startswith(f"probe: {run / name} is damaged: take it away")
    (run / name).unlink()
    assert run_probe("report", run)[0] == 0


def test_a_folder_that_cannot_be_made_is_refused(run_of: RunOf, run_probe: RunProbe, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, error = run_probe("report", run_of("one"), "--out", tmp_path / "file")
    assert code == 2
    assert "give another --out" in error
    assert error.count("\n") == 1

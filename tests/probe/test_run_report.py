"""`probe report`: several runs in one table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from probe import FitOptions, run_fit

RunProbe = Callable[..., tuple[int, str, str]]


def test_answers_of_all_runs_stand_best_first(
    options: Callable[..., FitOptions], tmp_path: Path, run_probe: RunProbe
) -> None:
    answers = run_fit(options(probe=("lp",), name="one")) + run_fit(options(probe=("ep4",), name="two"))
    code, output, _ = run_probe("report", tmp_path / "runs" / "one", tmp_path / "runs" / "two")
    assert code == 0
    table = output[output.rindex("top-1 on the evaluation split") :]  # the runs print theirs before
    rows = [line.split("│")[1:3] for line in table.splitlines() if line.startswith("│")]
    expected = sorted(zip(("one", "two"), answers, strict=True), key=lambda pair: -pair[1].top1)
    assert [[cell.strip() for cell in row] for row in rows] == [[run, a.probe] for run, a in expected]


def test_a_folder_without_results_is_refused(run_probe: RunProbe, tmp_path: Path) -> None:
    code, _, error = run_probe("report", tmp_path)
    assert code == 2
    assert error == f"probe: {tmp_path} holds no finished run (results.json is missing)\n"

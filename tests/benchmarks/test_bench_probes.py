"""The benchmark of the probes runs, at tiny sizes, and compares every probe that is trained."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from probe.names import CLOSED_FORM, known_names

Run = Callable[..., subprocess.CompletedProcess[str]]

TRAINED = [name for name in known_names() if name not in CLOSED_FORM]


@pytest.fixture(scope="module")
def run_quick(run_benchmark: Run) -> Run:
    """Run the benchmark in a folder, in one thread: its steps are too small for more."""

    def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
        return run_benchmark("bench_probes.py", folder, "--quick", "--threads", 1, *words)

    return run


@pytest.fixture(scope="module")
def ended(run_quick: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What a run of all probes prints, and the folder where it saves `result.json` and draws."""
    folder = tmp_path_factory.mktemp("probes")
    process = run_quick(folder, "--json", "result.json", "--chart", "chart.png")
    assert process.returncode == 0, process.stderr
    return process.stdout, folder


def shown(result: dict[str, Any]) -> list[str]:
    """Names of the probes that were measured."""
    return [probe["name"] for probe in result["probes"]]


def test_every_trained_probe_is_compared_with_its_published_form(ended: tuple[str, Path]) -> None:
    found = json.loads((ended[1] / "result.json").read_text())
    (result,) = found["results"]
    assert shown(result) == TRAINED
    for probe in result["probes"]:
        for step in ("forward", "both"):
            assert {"ours", "published", "matmul"} <= probe[step]["seconds_of_rounds"].keys()
            assert probe[step]["times_published"] > 0
        assert 0 < probe["forward"]["flops"] < probe["both"]["flops"]
    with_attention = [p["name"] for p in result["probes"] if p["both"]["times_attention"] is not None]
    assert with_attention == ["ep32", "mhca8"]
    assert found["machine"]["threads"] == 1


def test_the_floor_has_reads_products_and_the_probe_itself(ended: tuple[str, Path]) -> None:
    (result,) = json.loads((ended[1] / "result.json").read_text())["results"]
    rows = {row["label"]: row for row in result["floor"]}
    assert sum(row["gigabytes"] is not None for row in rows.values()) == 3
    assert sum(row["gflops"] is not None for row in rows.values()) == 5
    assert rows["ep32, forward and backward"]["share"] == 1


def test_the_tables_fit_a_hundred_columns(ended: tuple[str, Path]) -> None:
    lines = ended[0].splitlines()
    assert max(map(len, lines)) <= 100
    assert {line.split()[0] for line in lines if line.strip()} >= set(TRAINED)


def test_a_chart_is_drawn(ended: tuple[str, Path]) -> None:
    assert (ended[1] / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_bfloat16_is_measured_too(run_quick: Run, tmp_path: Path) -> None:
    process = run_quick(tmp_path, "--dtype", "bfloat16", "--probe", "ep32,cbam", "--json", "result.json")
    assert process.returncode == 0, process.stderr
    (result,) = json.loads((tmp_path / "result.json").read_text())["results"]
    assert shown(result) == ["ep32", "cbam"]


def test_a_probe_that_is_not_known_is_refused_in_one_line(run_quick: Run, tmp_path: Path) -> None:
    process = run_quick(tmp_path, "--probe", "ep33")
    assert process.returncode == 2
    assert "ep33" in process.stderr
    assert len(process.stderr.splitlines()) == 1

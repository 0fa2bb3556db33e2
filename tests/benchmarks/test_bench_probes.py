"""The benchmark of the probes runs, at tiny sizes, and compares every probe that is trained."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from probe.names import CLOSED_FORM, known_names

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "bench_probes.py"
TRAINED = [name for name in known_names() if name not in CLOSED_FORM]


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the benchmark in `folder`, in one thread: its steps are too small for more."""
    return subprocess.run(
        [sys.executable, SCRIPT, "--quick", "--threads", "1", *words],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What a run of all probes prints, and the folder where it saves `result.json` and draws."""
    folder = tmp_path_factory.mktemp("probes")
    process = run(folder, "--json", "result.json", "--chart", "chart.png")
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


def test_bfloat16_is_measured_too(tmp_path: Path) -> None:
    process = run(tmp_path, "--dtype", "bfloat16", "--probe", "ep32,cbam", "--json", "result.json")
    assert process.returncode == 0, process.stderr
    (result,) = json.loads((tmp_path / "result.json").read_text())["results"]
    assert shown(result) == ["ep32", "cbam"]


def test_a_probe_that_is_not_known_is_refused_in_one_line(tmp_path: Path) -> None:
    process = run(tmp_path, "--probe", "ep33")
    assert process.returncode == 2
    assert "ep33" in process.stderr
    assert len(process.stderr.splitlines()) == 1

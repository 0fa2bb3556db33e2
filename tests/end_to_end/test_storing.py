"""Every format and dtype, from images to a probe's accuracy."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


def _top1(folder: Path, run: Run, *words: str) -> dict[str, float]:
    """Extract 400 digits of each split with `words`, train two probes for a little; top-1 of each."""
    extract = ["--backbone", "mae_digits", "--dataset", "digits", "--limit", "400", "--workers", "0"]
    finished = run("extract", *extract, *words, "--out", "store", "--shard-size", "150", cwd=folder)
    assert finished.returncode == 0, finished.stderr
    probe = [
        "--cache",
        "store",
        "--probe",
        "lp_mean,ep8+cls",
        "--recipe",
        "fast",
        "--epochs",
        "20",
        "--lr",
        "0.01",
    ]
    finished = run("probe", *probe, "--name", "run", cwd=folder)
    assert finished.returncode == 0, finished.stderr
    with (folder / "runs" / "run" / "results.csv").open() as file:
        return {row["probe"]: float(row["top1_last"]) for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory, run: Run) -> dict[str, float]:
    return _top1(tmp_path_factory.mktemp("exact"), run, "--dtype", "float32")


@pytest.mark.parametrize("store_format", ["zarr", "hdf5"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_probes_learn_the_same_from_every_store(
    tmp_path: Path, run: Run, exact: dict[str, float], store_format: str, dtype: str
) -> None:
    top1 = _top1(tmp_path, run, "--format", store_format, "--dtype", dtype)
    assert exact["ep8+cls"] > 85
    assert top1 == pytest.approx(exact, abs=1.5)


def test_mixed_precision_learns_the_same(tmp_path: Path, run: Run, exact: dict[str, float]) -> None:
    assert _top1(tmp_path, run, "--amp", "bfloat16") == pytest.approx(exact, abs=2.5)


def test_a_chosen_block_is_probed(tmp_path: Path, run: Run) -> None:
    extract = ["--backbone", "mae_digits", "--dataset", "digits", "--limit", "200", "--workers", "0"]
    assert run("extract", *extract, "--blocks", "1,-1", "--out", "store", cwd=tmp_path).returncode == 0
    seen = {}
    for block in ("1", "5"):
        probe = ["--cache", "store", "--probe", "lp", "--recipe", "fast", "--epochs", "1", "--block", block]
        finished = run("probe", *probe, "--name", block, cwd=tmp_path)
        assert finished.returncode == 0, finished.stderr
        seen[block] = (tmp_path / "runs" / block / "metrics.jsonl").read_text()
    assert seen["1"] != seen["5"]

"""The benchmark of views runs; of plain images, on the fly and from the store are the same training."""

from __future__ import annotations

import importlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from extract.command import extract
from extract.options import ExtractOptions

RunBenchmark = Callable[..., subprocess.CompletedProcess[str]]

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def view_training(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of that name, imported as the benchmark does."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("view_training")


def test_plain_images_on_the_fly_train_what_their_stored_tokens_do(
    tmp_path: Path, view_training: ModuleType
) -> None:
    settings = {"backbone": "mae_digits", "dataset": "digits", "limit": 160, "workers": 0}
    extract(ExtractOptions(**settings, out=tmp_path / "store"))
    training = view_training.open_training(tmp_path / "store", (0, 1), 3)
    stored = training.top1(training.stored("plain"))
    fresh = training.top1(view_training.FreshViews(training, "mae_digits", "digits", None).epoch)
    for probe, found in stored.items():
        # batches of other images than the store's were computed in: a last bit may turn an image
        assert fresh[probe] == pytest.approx(found, abs=1.01 * 100 / 160), probe


@pytest.mark.slow
def test_every_way_of_training_is_measured_and_drawn(run_benchmark: RunBenchmark, tmp_path: Path) -> None:
    ended = run_benchmark("bench_views.py", tmp_path, "--quick", "--json", "result.json", "--chart", "c.svg")
    assert ended.returncode == 0, ended.stderr
    rows = json.loads((tmp_path / "result.json").read_text())["rows"]
    ways = {(row["augment"], row["policy"], row["views"]) for row in rows}
    augmented = {
        (augment, *way)
        for augment in ("rrc_flip", "rrc_mild")
        for way in (("random", 2), ("all", 2), ("fresh", None))
    }
    assert ways == {(None, "plain", 1), *augmented}
    assert all(len(found) == 1 for row in rows for found in row["top1"].values())
    assert "<svg" in (tmp_path / "c.svg").read_text()

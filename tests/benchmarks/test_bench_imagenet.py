"""ImageNet's costs: the projection's arithmetic, and the script itself at tiny sizes."""

from __future__ import annotations

import json
import runpy
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RunBenchmark = Callable[..., subprocess.CompletedProcess[str]]

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
IMAGES = 1_281_167


@pytest.fixture(scope="module")
def module() -> dict[str, Any]:
    """Names of `imagenet_projection`, which is a script's module and in no package."""
    return runpy.run_path(str(BENCHMARKS / "imagenet_projection.py"))


def projected(module: dict[str, Any], room: dict[str, int]) -> Any:
    """An image of 1,000 bytes that takes 1 ms to extract, 10 ms in the loop, and 20, 30, 50 µs an epoch."""
    one_trial = {"device": 2e-5, "host": 3e-5, "stream": 5e-5}
    sweep = {tier: 4 * seconds for tier, seconds in one_trial.items()}
    measured = module["Measured"]("vit", "float16", 1000, 1e-3, 1e-2, one_trial, sweep)
    return module["projected"](measured, room)


@pytest.mark.parametrize(
    ("room", "tier", "seconds"),
    [
        ({"device": IMAGES * 1000, "host": 0}, "device", 2e-5),
        ({"device": IMAGES * 1000 - 1, "host": IMAGES * 1000}, "host", 3e-5),
        ({"device": 0, "host": 0}, "stream", 5e-5),
    ],
)
def test_a_run_takes_the_first_tier_that_holds_the_store(
    module: dict[str, Any], room: dict[str, int], tier: str, seconds: float
) -> None:
    found = projected(module, room)
    assert found.tier == tier
    assert found.run_hours == pytest.approx(90 * IMAGES * seconds / 3600)
    assert found.sweep_hours == pytest.approx(4 * found.run_hours)


def test_everything_is_scaled_to_the_training_images(module: dict[str, Any]) -> None:
    found = projected(module, {"device": 0, "host": 0})
    assert found.store_bytes == 1000 * IMAGES
    assert found.extraction_hours == pytest.approx(IMAGES / 1000 / 3600)
    assert found.in_the_loop_hours == pytest.approx(90 * IMAGES / 100 / 3600)
    assert found.epoch_seconds["host"] == pytest.approx(IMAGES * 3e-5)


def test_a_run_is_compared_with_the_backbone_in_every_epoch(module: dict[str, Any]) -> None:
    found = projected(module, {"device": 0, "host": 0})
    assert found.times_faster == pytest.approx(90 * 0.01 / (0.001 + 90 * 5e-5))
    assert found.sweep_times_faster == pytest.approx(64 * 90 * 0.01 / (0.001 + 90 * 4 * 5e-5))


@pytest.mark.slow
def test_the_script_says_what_is_projected(run_benchmark: RunBenchmark, tmp_path: Path) -> None:
    ended = run_benchmark("bench_imagenet.py", tmp_path, "--quick", "--device", "cpu", "--json", "found.json")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("PROJECTED to ImageNet-1k") == 2
    assert max(map(len, ended.stdout.splitlines())) <= 100
    assert [path.name for path in tmp_path.iterdir()] == ["found.json"]
    found = json.loads((tmp_path / "found.json").read_text())["projected"]
    assert [one["measured"]["dtype"] for one in found] == ["float16", "int8"]
    assert found[1]["store_bytes"] < 0.55 * found[0]["store_bytes"]

"""The embedded default, as `make demo` runs it."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, run_installed: Run) -> dict[str, Any]:
    """What both commands printed, and the folder they ran in."""
    folder = tmp_path_factory.mktemp("demo")
    extract = run_installed("extract", "--backbone", "mae_digits", "--dataset", "digits", cwd=folder)
    words = ["--cache", "cache/mae_digits", "--probe", "lp,ep16", "--recipe", "fast"]
    probe = run_installed("probe", *words, cwd=folder)
    return {"folder": folder, "extract": extract, "probe": probe}


def test_both_commands_succeed(demo: dict[str, Any]) -> None:
    assert demo["extract"].returncode == 0, demo["extract"].stderr
    assert demo["probe"].returncode == 0, demo["probe"].stderr


def test_extract_says_what_is_stored_and_where(demo: dict[str, Any]) -> None:
    train, test = demo["extract"].stdout.splitlines()
    assert train.startswith("cache/mae_digits/digits/train: 1,437 images, block5/patches 64×96 float16")
    assert test.startswith("cache/mae_digits/digits/test: 360 images")


@pytest.mark.slow
def test_efficient_probing_finds_what_the_linear_probe_misses(demo: dict[str, Any], run: Run) -> None:
    top1: dict[str, list[float]] = {"lp": [], "ep16": []}
    # one of 360 images is 0.28 points: a mean is what can be relied on
    words = ["--cache", "cache/mae_digits", "--probe", "lp,ep16", "--recipe", "fast", "--seed", "0,1,2,3,4"]
    finished = run("probe", *words, "--name", "seeds", cwd=demo["folder"])
    assert finished.returncode == 0, finished.stderr
    with (demo["folder"] / "runs" / "seeds" / "results.csv").open() as file:
        for row in csv.DictReader(file):
            top1[row["probe"]].append(float(row["top1_last"]))
    assert (len(top1["lp"]), len(top1["ep16"])) == (5, 5)
    assert mean(top1["lp"]) >= 90
    assert mean(top1["ep16"]) >= mean(top1["lp"]) + 3


def test_every_epoch_has_a_line_for_each_probe(demo: dict[str, Any]) -> None:
    lines = [
        line for line in demo["probe"].stderr.splitlines() if " loss " in line
    ]  # others say how far it is
    assert len(lines) == 2 * 100
    assert all(word in lines[-1] for word in ("epoch", "top-1", "top-5", "images/s"))


def test_the_same_seed_gives_the_same_numbers(demo: dict[str, Any], run: Run) -> None:
    again = run(
        "probe", "fit", "--cache", "cache/mae_digits", "--probe", "ep16", "--recipe", "fast",
        "--epochs", "3", "--name", "one", cwd=demo["folder"],
    )  # fmt: skip
    beside = run(
        "probe", "--cache", "cache/mae_digits", "--probe", "lp", "ep16", "--recipe", "fast",
        "--epochs", "3", "--name", "two", cwd=demo["folder"],
    )  # fmt: skip
    assert (again.returncode, beside.returncode) == (0, 0)
    curves = []
    for name in ("one", "two"):
        text = (demo["folder"] / "runs" / name / "metrics.jsonl").read_text()
        results = [json.loads(line) for line in text.splitlines()]
        curves.append([(r["loss"], r["top1"], r["top5"]) for r in results if r["trial"] == "ep16"])
    assert curves[0] == curves[1]


def test_extracting_again_stores_nothing_new(
    demo: dict[str, Any], run: Run, files: Callable[[Path], dict[str, bytes]]
) -> None:
    store = demo["folder"] / "cache" / "mae_digits"
    before = files(store)
    again = run("extract", "--backbone", "mae_digits", "--dataset", "digits", cwd=demo["folder"])
    assert again.returncode == 0
    assert again.stdout.count("was complete") == 2
    assert files(store) == before


def test_what_was_extracted_is_data_and_nothing_else_is_said(demo: dict[str, Any], run: Run) -> None:
    words = ("--backbone", "mae_digits", "--dataset", "digits", "--quiet", "--json")
    again = run("extract", *words, cwd=demo["folder"])
    assert (again.returncode, again.stderr) == (0, "")
    found = json.loads(again.stdout)
    assert [split["split"] for split in found["splits"]] == ["digits/train", "digits/test"]
    assert [split["records"] for split in found["splits"]] == [1437, 360]
    assert [split["written_images"] for split in found["splits"]] == [0, 0]


def test_cache_info_shows_the_store(demo: dict[str, Any], run: Run) -> None:
    shown = run("cache", "info", "cache/mae_digits", "--json", cwd=demo["folder"])
    info = json.loads(shown.stdout)
    assert info["backbone"]["name"] == "mae_digits"
    assert info["splits"]["digits/train"]["records"] == 1437
    assert sum(held["images"] for held in info["splits"]["digits/test"]["images_per_class"]) == 360

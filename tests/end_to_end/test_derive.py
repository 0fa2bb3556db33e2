"""Stores derived from one extraction, as a user makes, probes and removes them."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
Files = Callable[[Path], Mapping[str, bytes]]

EXTRACT = (
    "--backbone",
    "mae_digits",
    "--dataset",
    "digits",
    "--limit",
    "300",
    "--workers",
    "0",
    "--blocks",
    "2,5",
)
SHARDS = ("--shard-size", "100")


def _done(finished: subprocess.CompletedProcess[str]) -> str:
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """A folder with the digits extracted in float32. Tests add stores, and change none."""
    folder = tmp_path_factory.mktemp("derive")
    _done(run("extract", *EXTRACT, *SHARDS, "--dtype", "float32", "--out", "exact", cwd=folder))
    return folder


def _top1(folder: Path, run: Run, store: str, *probes: str) -> dict[str, float]:
    words = [
        "--cache",
        store,
        "--probe",
        ",".join(probes),
        "--recipe",
        "fast",
        "--epochs",
        "20",
        "--lr",
        "0.01",
    ]
    _done(run("probe", *words, "--name", store, cwd=folder))
    with (folder / "runs" / store / "results.csv").open() as file:
        return {row["probe"]: float(row["top1_last"]) for row in csv.DictReader(file)}


@pytest.mark.parametrize("store_format", ["zarr", "hdf5"])
@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_deriving_a_dtype_gives_the_bytes_of_extracting_in_it(
    folder: Path, run: Run, files: Files, store_format: str, dtype: str
) -> None:
    how = ("--dtype", dtype, "--format", store_format)
    derived, extracted = f"derived_{dtype}_{store_format}", f"extracted_{dtype}_{store_format}"
    _done(run("cache", "derive", "exact", derived, *how, cwd=folder))
    _done(run("extract", *EXTRACT, *SHARDS, *how, "--out", extracted, cwd=folder))
    found, expected = files(folder / derived), files(folder / extracted)
    assert [name for name in {**found, **expected} if found.get(name) != expected.get(name)] == []


def test_extraction_goes_on_with_a_store_that_was_cast_from_float32(folder: Path, run: Run) -> None:
    _done(run("cache", "derive", "exact", "mixed", "--dtype", "int8", "--split", "train", cwd=folder))
    stored = _done(run("extract", *EXTRACT, *SHARDS, "--dtype", "int8", "--out", "mixed", cwd=folder))
    assert stored.splitlines()[0].endswith("was complete")
    assert "no damage" in _done(run("cache", "verify", "mixed", cwd=folder))


def test_a_store_of_means_trains_linear_probes_and_says_what_it_lacks(folder: Path, run: Run) -> None:
    _done(run("cache", "derive", "exact", "means", "--keep", "mean", cwd=folder))
    assert _top1(folder, run, "means", "lp_mean") == _top1(folder, run, "exact", "lp_mean")
    refused = run("probe", "--cache", "means", "--probe", "ep16", cwd=folder)
    assert refused.returncode == 2
    assert refused.stderr == (
        "probe: digits/train holds no patches of block 5; the store was derived without them\n"
    )


def test_tokens_cast_twice_are_probed_like_the_first(folder: Path, run: Run) -> None:
    _done(run("cache", "derive", "exact", "half", "--dtype", "float16", cwd=folder))
    _done(run("cache", "derive", "half", "eight", "--dtype", "int8", "--format", "hdf5", cwd=folder))
    half, eight = (_top1(folder, run, store, "lp", "ep8") for store in ("half", "eight"))
    assert half["ep8"] > 80
    assert eight == pytest.approx(half, abs=2.5)
    shown = _done(run("cache", "info", "eight", "--json", cwd=folder))
    assert json.loads(shown)["derived"] == ["cast float16 → int8"]


def test_a_store_of_few_classes_and_coarse_tokens_is_probed(folder: Path, run: Run) -> None:
    few = ("--classes", "3,0,7", "--fraction", "0.5", "--pool", "2", "--blocks", "5")
    _done(run("cache", "derive", "exact", "few", *few, "--split", "train", cwd=folder))
    _done(run("cache", "derive", "exact", "few", *few[:2], *few[4:], "--split", "test", cwd=folder))
    info = json.loads(_done(run("cache", "info", "few", "--json", cwd=folder)))
    classes = [held["name"] for held in info["splits"]["digits/test"]["images_per_class"]]
    assert classes == ["0", "3", "7"]
    assert info["splits"]["digits/train"]["order"].endswith("; classes 0, 3, 7; fraction 0.5 of each class")
    assert info["splits"]["digits/train"]["arrays"]["block5/patches"]["shape"][2:] == [16, 96]
    assert "no damage" in _done(run("cache", "verify", "few", cwd=folder))
    assert _top1(folder, run, "few", "ep8")["ep8"] > 80


def test_a_derived_store_is_removed_and_the_one_it_came_from_stays(folder: Path, run: Run) -> None:
    _done(run("cache", "derive", "exact", "gone", "--keep", "prefix", cwd=folder))
    assert f"removed {folder.resolve()}/gone (" in _done(run("cache", "rm", "gone", "--yes", cwd=folder))
    assert not (folder / "gone").exists()
    assert "no damage" in _done(run("cache", "verify", "exact", cwd=folder))


def test_an_extraction_does_not_go_on_with_pooled_tokens(folder: Path, run: Run, files: Files) -> None:
    _done(run("cache", "derive", "exact", "pooled", "--pool", "2", "--split", "train", cwd=folder))
    before = files(folder / "pooled")
    refused = run("extract", *EXTRACT, *SHARDS, "--dtype", "float32", "--out", "pooled", cwd=folder)
    assert refused.returncode == 2
    assert "another derived (['grid pooled by 2'] there, [] here)" in refused.stderr
    assert files(folder / "pooled") == before

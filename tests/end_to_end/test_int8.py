"""int8 stores, from images to a probe's accuracy, and what happens when one is damaged or interrupted."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cache import Store

Run = Callable[..., subprocess.CompletedProcess[str]]
Files = Callable[[Path], dict[str, bytes]]
SMALL = (
    "--backbone", "mae_digits", "--dataset", "digits", "--limit", "300", "--workers", "0",
    "--shard-size", "100",
)  # fmt: skip


def _extract(folder: Path, run: Run, dtype: str, *words: str) -> Path:
    """A store of 300 digits of each split."""
    finished = run("extract", *SMALL, "--dtype", dtype, "--out", dtype, *words, cwd=folder)
    assert finished.returncode == 0, finished.stderr
    return folder / dtype


def _probe(folder: Path, run: Run, dtype: str, *words: str) -> subprocess.CompletedProcess[str]:
    probes = ["--probe", "lp,lp_mean,ep8", "--recipe", "fast", "--epochs", "20", "--lr", "0.01"]
    return run("probe", "--cache", dtype, *probes, "--name", dtype, *words, cwd=folder)


def _top1(folder: Path, run: Run, dtype: str) -> dict[str, float]:
    finished = _probe(folder, run, dtype)
    assert finished.returncode == 0, finished.stderr
    with (folder / "runs" / dtype / "results.csv").open() as file:
        return {row["probe"]: float(row["top1_last"]) for row in csv.DictReader(file)}


def _flip_a_bit(store: Path, name: str) -> str:
    """Damage record 100, the first of shard 1, in array `name`; the path of its file in the store."""
    split = Store(store).split("digits", "train")
    extent = split.engine.extents(1)[name, 0]
    content = bytearray(extent.path.read_bytes())
    content[extent.offset] ^= 1
    extent.path.write_bytes(content)
    return extent.path.relative_to(store).as_posix()


@pytest.fixture(params=["zarr", "hdf5"])
def store_format(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(tmp_path: Path, run: Run, store_format: str) -> Path:
    return _extract(tmp_path, run, "int8", "--format", store_format)


def test_probes_learn_from_int8_what_they_learn_from_float32(tmp_path: Path, run: Run, store: Path) -> None:
    _extract(tmp_path, run, "float32")
    exact, found = _top1(tmp_path, run, "float32"), _top1(tmp_path, run, "int8")
    assert exact["ep8"] > 85
    assert found == pytest.approx(exact, abs=1.5)
    assert found["lp_mean"] == exact["lp_mean"]  # means are float32 in every store


def test_cache_info_shows_the_scales(store: Path, run: Run) -> None:
    info = json.loads(run("cache", "info", store, "--json", cwd=store).stdout)
    arrays = info["splits"]["digits/train"]["arrays"]
    assert info["dtype"] == "int8"
    assert arrays["block5/patches"] == {"dtype": "int8", "shape": [1, 300, 64, 96]}
    assert arrays["block5/patches_scale"] == {"dtype": "float16", "shape": [1, 300, 64 + 96]}


def test_a_flipped_bit_of_a_scale_is_found(tmp_path: Path, run: Run, store: Path) -> None:
    damaged = _flip_a_bit(store, "block5/patches_scale")
    verified = run("cache", "verify", "int8", cwd=tmp_path)
    assert verified.returncode == 1
    assert f"int8/{damaged}: has 1 damaged record(s) of block5/patches_scale: 100" in verified.stdout
    probed = _probe(tmp_path, run, "int8", "--verify")
    assert probed.returncode == 2
    assert "record 100 of block5/patches_scale is damaged" in probed.stderr.splitlines()[-1]
    assert "Traceback" not in probed.stderr


def test_a_resumed_store_has_the_bytes_of_one_written_in_one_go(
    tmp_path: Path, run: Run, store: Path, store_format: str, files: Files
) -> None:
    whole = files(store)
    (store / "digits/train/shards/00001.json").unlink()
    (store / "digits/test/shards/00002.json").unlink()
    assert files(store) != whole
    _extract(tmp_path, run, "int8", "--format", store_format)
    assert files(store) == whole


def test_another_dtype_is_refused_by_name(tmp_path: Path, run: Run, store: Path) -> None:
    finished = run("extract", *SMALL, "--dtype", "float16", "--out", "int8", cwd=tmp_path)
    assert finished.returncode == 2
    assert "dtype (int8 there, float16 here)" in finished.stderr

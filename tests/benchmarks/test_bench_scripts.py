"""The benchmarks of the store run, at tiny sizes, and say something of every contender."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

RunBenchmark = Callable[..., subprocess.CompletedProcess[str]]

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
ENGINES = ("zarr", "hdf5")
READERS = {
    *(f"ours, {engine} engine, {tier} tier" for engine in ENGINES for tier in ("device", "host", "stream")),
    *(f"ours, {engine} engine, host tier, int8" for engine in ENGINES),
    "numpy memmap",
    "safetensors, mapped",
    "h5py, sorted read_direct",
    "zarr-python",
    "zarr-python with zarrs",
    "tensorstore, zarr3",
    "webdataset (sequential, not random)",
    ".pt per image, DataLoader of 2 workers",
}
WRITERS = {
    "plain write calls",
    "ours, zarr engine",
    "ours, hdf5 engine",
    "numpy .npy shards",
    "h5py, contiguous shards",
    "zarr-python, sharded",
    "zarr-python with zarrs",
    "tensorstore, zarr3",
    "safetensors shards",
    "webdataset .tar shards",
    ".pt file per image",
}
OPTIONAL = {"zarrs", "tensorstore", "webdataset"}


def results(run_benchmark: RunBenchmark, script: str, folder: Path) -> dict[str, Any]:
    """What a quick run saves and draws; nothing else is left in `folder`."""
    ended = run_benchmark(script, folder, "--quick", "--json", "result.json", "--chart", "chart.png")
    assert ended.returncode == 0, ended.stderr
    assert {path.name for path in folder.iterdir()} == {"result.json", "chart.png"}
    assert (folder / "chart.png").read_bytes().startswith(b"\x89PNG")
    assert max(map(len, ended.stdout.splitlines())) <= 100
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def require_all(section: dict[str, Any], expected: set[str]) -> None:
    """Every contender is measured, but for libraries that are not installed."""
    measured = {row["label"] for row in section["rows"]}
    missing = {label for label in expected - measured if not any(name in label for name in OPTIONAL)}
    assert missing == set()
    assert measured | set(section["not_installed"]) >= expected


@pytest.mark.slow
def test_the_benchmark_of_the_loader_measures_every_reader(
    run_benchmark: RunBenchmark, tmp_path: Path
) -> None:
    found = results(run_benchmark, "bench_loader.py", tmp_path)
    sections = {section["name"]: section for section in found["sections"]}
    assert sections.keys() - {"cold"} == {"warm"}  # cold: where the system forgets files when asked
    for section in sections.values():
        require_all(section, READERS)
    assert {row["dim"] for row in found["overhead"]} >= {192, 384, 768, 1024}
    assert found["machine"]["cores"] >= 1


@pytest.mark.slow
def test_the_benchmark_of_the_writer_measures_every_writer(
    run_benchmark: RunBenchmark, tmp_path: Path
) -> None:
    found = results(run_benchmark, "bench_writer.py", tmp_path)
    require_all(found["sections"][0], WRITERS)
    assert found["peak_bytes"].keys() == {f"ours, {engine} engine" for engine in ENGINES}


@pytest.mark.slow
def test_the_benchmark_of_extraction_measures_it_beside_its_parts(
    run_benchmark: RunBenchmark, tmp_path: Path
) -> None:
    ended = run_benchmark("bench_extract.py", tmp_path, "--quick", "--json", "result.json")
    assert ended.returncode == 0, ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    assert max(map(len, ended.stdout.splitlines())) <= 100
    sections = json.loads((tmp_path / "result.json").read_text())["sections"]
    assert len(sections) == 2
    for section in sections:
        speeds = {row["label"]: row["images_per_second"] for row in section["rows"]}
        assert speeds.keys() == {"forward alone", "decode alone", "one after the other", "extract"}
        assert section["ceiling"] == min("forward alone", "decode alone", key=speeds.__getitem__)


@pytest.mark.slow
def test_the_benchmark_of_decoding_measures_speed_and_distance_from_pillow(
    run_benchmark: RunBenchmark, tmp_path: Path
) -> None:
    ended = run_benchmark("bench_decode.py", tmp_path, "--quick", "--json", "result.json")
    assert ended.returncode == 0, ended.stderr
    found = json.loads((tmp_path / "result.json").read_text())
    assert len(found["sections"]) == 4
    for section in found["sections"]:
        labels = {row["label"] for row in section["rows"]}
        assert labels == {row["label"] for row in found["differences"] if row["section"] == section["name"]}
        assert labels > {"Pillow"}
    measured = {row["label"] for row in found["differences"]}
    for on_a_gpu in ("nvJPEG, batches of 64", "--decode device, batches of 64"):
        assert (on_a_gpu in measured) != (on_a_gpu in found["left_out"])
    exact = [row for row in found["differences"] if row["label"] in ("Pillow", "torchvision.io")]
    assert {row["max"] for row in exact} == {0}
    by_torch = [row for row in found["differences"] if row["label"] == "--resize torch"]
    assert all(0 < row["max"] <= 2 and row["tokens"] < 0.01 for row in by_torch)


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler, g++")
@pytest.mark.slow
def test_the_benchmark_of_the_forward_pass_measures_every_way(
    run_benchmark: RunBenchmark, tmp_path: Path
) -> None:
    ended = run_benchmark("bench_forward.py", tmp_path, "--quick", "--json", "result.json")
    assert ended.returncode == 0, ended.stderr
    (section,) = json.loads((tmp_path / "result.json").read_text())["sections"]
    labels = {row["label"] for row in section["rows"]}
    assert labels == {"plain", "--channels-last", "--compile", "--compile --channels-last"}


@pytest.mark.slow
def test_the_benchmark_of_transfers_measures_every_way(run_benchmark: RunBenchmark, tmp_path: Path) -> None:
    ended = run_benchmark(
        "bench_transfer.py", tmp_path, "--quick", "--json", "result.json", "--trace", "trace.json"
    )
    assert ended.returncode == 0, ended.stderr
    results = json.loads((tmp_path / "result.json").read_text())["results"]
    assert results.keys() == {"float16", "int8"}
    for result in results.values():
        assert result["seconds"].keys() == {"plain copies", "loader", "training", "steps alone"}
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"]


@pytest.mark.slow
def test_the_benchmark_of_int8_compares_every_coding_with_float32(
    run_benchmark: RunBenchmark, tmp_path: Path
) -> None:
    ended = run_benchmark("bench_int8.py", tmp_path, "--quick", "--json", "result.json")
    assert ended.returncode == 0, ended.stderr
    rows = json.loads((tmp_path / "result.json").read_text())["rows"]
    codings = {row["coding"]: row for row in rows if row["condition"] == "bundled"}
    assert {"float32", "float16", "bfloat16", "int8"} <= codings.keys()
    assert (
        codings["float32"]["token_error"]["patches"] == 0 < codings["int8"]["token_error"]["patches"] < 0.01
    )
    assert {"lp/360", "ep32/360", "knn/360"} <= codings["int8"]["probes"].keys()


@pytest.mark.parametrize("script", sorted(path.name for path in BENCHMARKS.glob("bench_*.py")))
def test_every_benchmark_has_a_help_text(
    script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)  # run here: a process for each would import torch once more
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with mock.patch.dict(os.environ), pytest.raises(SystemExit) as ended:
        runpy.run_path(str(BENCHMARKS / script), run_name="__main__")
    printed = capsys.readouterr()
    assert (ended.value.code, printed.err) == (0, "")
    assert f"usage: {script}" in printed.out


@pytest.mark.parametrize("script", ["bench_loader.py", "bench_writer.py"])
def test_a_folder_that_exists_is_refused_and_kept(
    run_benchmark: RunBenchmark, script: str, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("kept")
    ended = run_benchmark(script, tmp_path, "--quick", "--folder", "mine")
    assert ended.returncode == 2
    assert "mine exists" in ended.stderr
    assert (tmp_path / "mine" / "file").read_text() == "kept"


def test_a_saved_result_can_be_drawn(run_benchmark: RunBenchmark, tmp_path: Path) -> None:
    row = {"image_bytes": 1, "images_per_second": 1.0, "fastest_share": 1.0, "seconds_per_image": [1.0]}
    row |= {"ceiling_share_low": 1.0, "ceiling_share_high": 1.0}
    rows = [
        {**row, "label": "memory", "role": "ceiling", "ceiling_share": 1.0},
        {**row, "label": "mine", "role": "ours", "ceiling_share": 0.8},
        {**row, "label": "theirs", "role": "other", "ceiling_share": 0.01},
    ]
    section = {"name": "warm", "title": "Reading", "ceiling": "memory", "rows": rows, "note": "Threads"}
    (tmp_path / "result.json").write_text(json.dumps({"sections": [section]}))
    ended = run_benchmark("chart.py", tmp_path, "result.json", "picture.svg")
    assert ended.returncode == 0, ended.stderr
    assert "<svg" in (tmp_path / "picture.svg").read_text()


@pytest.mark.slow
def test_the_benchmark_of_the_fused_kernels_runs_interpreted(
    run_benchmark: RunBenchmark, tmp_path: Path
) -> None:
    pytest.importorskip("triton")
    ended = run_benchmark("bench_gpu.py", tmp_path, "--quick", "--json", "result.json")
    assert ended.returncode == 0, ended.stderr
    assert max(map(len, ended.stdout.splitlines())) <= 100
    found = json.loads((tmp_path / "result.json").read_text())
    assert found["machine"]["device"] is None
    assert sum(row["label"].startswith("fused") for row in found["probes"]) == 4
    assert len(found["stacks"]) == 2
    assert {row["taken"] for row in found["choices"]} == {"plain"}  # on a CPU


@pytest.mark.slow
def test_the_kernels_compile_for_a_gpu_that_is_not_there(
    run_benchmark: RunBenchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    ended = run_benchmark("bench_compilation.py", tmp_path, "--quick", "--json", "result.json")
    assert ended.returncode == 0, ended.stderr
    assert max(map(len, ended.stdout.splitlines())) <= 100
    for kernel in json.loads((tmp_path / "result.json").read_text())["kernels"]:
        assert kernel["shared_bytes"] <= 227 * 1024
        assert kernel["registers"] <= 255
        assert kernel["matrix_instructions"] > 0
        assert kernel["asynchronous_copies"] > 0


@pytest.mark.slow
def test_the_benchmark_of_precision_runs_interpreted(run_benchmark: RunBenchmark, tmp_path: Path) -> None:
    pytest.importorskip("triton")
    ended = run_benchmark("bench_precision.py", tmp_path, "--quick", "--json", "result.json")
    assert ended.returncode == 0, ended.stderr
    (errors,) = json.loads((tmp_path / "result.json").read_text())["errors"].values()
    assert errors["fused, --precision float32"] < 1e-6
    assert errors["fused, --precision bfloat16"] < errors["plain, --precision bfloat16"]


def test_the_benchmark_of_the_fused_kernels_refuses_a_machine_without_a_gpu(
    run_benchmark: RunBenchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    ended = run_benchmark("bench_gpu.py", tmp_path)
    assert ended.returncode == 2
    assert "a CUDA device is needed" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1

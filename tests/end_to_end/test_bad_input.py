"""Bad input: one clear line, exit code 2, and nothing stored is lost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

Run = Callable[..., subprocess.CompletedProcess[str]]
Files = Callable[[Path], Mapping[str, bytes]]
SMALL = ("--dataset", "digits", "--limit", "60", "--workers", "0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """A folder with a small store of the digits, and a file. Tests do not change it."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "notes.txt").touch()
    finished = run("extract", "--backbone", "mae_digits", *SMALL, cwd=folder)
    assert finished.returncode == 0, finished.stderr
    return folder


BAD = {
    "unknown backbone": ("extract --backbone mae_digit --dataset digits", "did you mean mae_digits"),
    "unknown data set": ("extract --backbone mae_digits --dataset digit", "did you mean digits"),
    "unknown split": ("extract --backbone mae_digits --dataset digits --split tset", "did you mean test"),
    "blocks beyond the backbone": (
        "extract --backbone mae_digits --dataset digits --blocks 9",
        "has blocks 0 to 5",
    ),
    "no weights file": (
        "extract --backbone mae_digits --dataset digits --weights no.pth",
        "no weights at no.pth",
    ),
    "no such device": ("extract --backbone mae_digits --dataset digits --device tpu", "--device tpu"),
    "negative batch": ("extract --backbone mae_digits --dataset digits --batch-size 0", "batch_size: "),
    "another backbone in the store": (
        "extract --backbone mae_digits --weights none --dataset digits --out cache/mae_digits",
        "backbone.weights_sha256",
    ),
    "another dtype in the store": (
        "extract --backbone mae_digits --dataset digits --dtype float32",
        "dtype (float16 there, float32 here)",
    ),
    "another seed in the split": (
        "extract --backbone mae_digits --dataset digits --limit 60 --seed 1",
        "order (permuted, Philox seed 0 there, permuted, Philox seed 1 here)",
    ),
    "missing cache": ("probe --cache cache/mae_digit", "no store at cache/mae_digit; cache holds mae_digits"),
    "unknown probe": ("probe --cache cache/mae_digits --probe eq32", "did you mean ep32"),
    "queries that do not divide": (
        "probe --cache cache/mae_digits --probe ep36",
        "36 queries × output divisor 1 do not divide the token width 96: use 24, 32, 48 queries",
    ),
    "block that is not stored": ("probe --cache cache/mae_digits --block 2", "holds block 5, not block 2"),
    "split that is not stored": (
        "probe --cache cache/mae_digits --train-split all",
        "no split 'all' of digits; it has test, train",
    ),
    "unknown recipe": ("probe --cache cache/mae_digits --recipe papr", "did you mean paper"),
    "unknown verb": ("probe repotr", "unknown verb of probe 'repotr'"),
    "cache info of nothing": ("cache info nowhere", "no store at nowhere"),
    "a store below a file": (
        "extract --backbone mae_digits --dataset digits --out notes.txt/store",
        "cannot write notes.txt/store (Not a directory): give a folder that you may write to",
    ),
    "a derived store below a file": (
        "cache derive cache/mae_digits notes.txt/store",
        "cannot write notes.txt/store (Not a directory): give a folder that you may write to",
    ),
    "runs below a file": (
        "probe --cache cache/mae_digits --probe lp --epochs 1 --runs notes.txt/runs",
        "(Not a directory): give another --runs",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_line_and_exit_code_two(folder: Path, run: Run, files: Files, case: str) -> None:
    line, message = BAD[case]
    before = files(folder)
    finished = run(*line.split(), cwd=folder)
    assert finished.returncode == 2, finished.stdout
    assert message in finished.stderr
    assert finished.stderr.count("\n") == 1, finished.stderr
    assert files(folder) == before


def test_an_unknown_option_is_named(folder: Path, run: Run) -> None:
    finished = run("extract", "--bakbone", "mae_digits", "--dataset", "digits", cwd=folder)
    assert finished.returncode == 2
    assert "--bakbone" in finished.stderr


def test_output_that_nobody_reads_any_more_is_no_traceback(folder: Path) -> None:
    program = Path(sys.executable).with_name("cache")
    words = [program, "info", "cache/mae_digits", "--json"]
    process = subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(60) == 141
    assert process.stderr is not None
    assert process.stderr.read() == ""


def test_an_unfinished_split_is_not_probed(tmp_path: Path, run: Run) -> None:
    run("extract", "--backbone", "mae_digits", *SMALL, "--shard-size", "30", cwd=tmp_path)
    (tmp_path / "cache/mae_digits/digits/train/shards/00001.json").unlink()
    finished = run("probe", "--cache", "cache/mae_digits", cwd=tmp_path)
    assert finished.returncode == 2
    assert "is incomplete, 1 of 2 shards are stored" in finished.stderr
    assert not (tmp_path / "runs").exists()


def _weights(tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    from extract import open_backbone

    state = open_backbone("mae_digits").model.state_dict()
    change(state)
    torch.save(state, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def test_float16_overflow_names_the_channel(tmp_path: Path, run: Run) -> None:
    def enlarge(state: dict[str, torch.Tensor]) -> None:
        state["blocks.5.mlp.fc2.bias"][17] = 1e6

    weights = _weights(tmp_path, enlarge)
    words = ("--backbone", "mae_digits", "--weights", weights, *SMALL, "--split", "test", "--out", "store")
    finished = run("extract", *words, cwd=tmp_path)
    assert finished.returncode == 2
    assert "block5/patches: channel 17 reaches 1e+06, beyond float16" in finished.stderr
    assert "--dtype bfloat16" in finished.stderr
    assert not list((tmp_path / "store").rglob("*.tmp"))
    kept = run("extract", *words[:-1], "wide", "--dtype", "bfloat16", cwd=tmp_path)
    assert kept.returncode == 0, kept.stderr


def test_tokens_that_are_not_numbers_are_refused(tmp_path: Path, run: Run) -> None:
    def poison(state: dict[str, torch.Tensor]) -> None:
        state["blocks.5.mlp.fc2.bias"][4] = float("inf")

    weights = _weights(tmp_path, poison)
    finished = run("extract", "--backbone", "mae_digits", "--weights", weights, *SMALL, cwd=tmp_path)
    assert finished.returncode == 2
    assert "NaN or infinite tokens (channel 4)" in finished.stderr


@pytest.mark.slow
def test_a_full_disk_stops_cleanly_and_the_run_goes_on_later(tmp_path: Path, run: Run, files: Files) -> None:
    words = [
        "--backbone", "mae_digits", *SMALL, "--split", "train", "--batch-size", "10", "--shard-size", "20",
    ]  # fmt: skip
    # no file may grow beyond half a shard: the kernel answers a write with an error, as a full disk does
    program = Path(sys.executable).with_name("extract")
    limited = subprocess.run(
        ["bash", "-c", f"ulimit -f 120; exec {program} {' '.join(words)} --out store"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert limited.returncode == 2
    assert "no space left" in limited.stderr
    assert "run the same command again" in limited.stderr
    assert limited.stderr.count("\n") == 1
    assert not list(tmp_path.rglob("*.tmp"))
    for out in ("store", "whole"):
        finished = run("extract", *words, "--out", out, cwd=tmp_path)
        assert finished.returncode == 0, finished.stderr
    assert files(tmp_path / "store") == files(tmp_path / "whole")

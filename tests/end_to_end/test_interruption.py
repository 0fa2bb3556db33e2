"""Whatever stops a run, the same command ends in the same bytes."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
Files = Callable[[Path], dict[str, bytes]]

KILLS = 10
COMMANDS = ["extract.command", "probe.command", "cache.command"]


def _words(out: Path, store_format: str) -> list[str]:
    return [
        "--backbone", "mae_digits", "--dataset", "digits", "--split", "train", "--limit", "1200",
        "--shard-size", "40", "--batch-size", "16", "--workers", "1", "--format", store_format,
        "--out", str(out),
    ]  # fmt: skip


def _extract(words: list[str]) -> None:
    from extract.command import main

    os.setpgrp()  # the data workers are killed with the process, as a shell or a scheduler would
    sys.argv = ["extract", *words]
    main()


def _start(words: list[str]) -> multiprocessing.process.BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(COMMANDS)  # each start then costs no imports
    process = context.Process(target=_extract, args=(words,))
    process.start()
    return process


def _kill(process: multiprocessing.process.BaseProcess) -> None:
    assert process.pid is not None
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:  # so early that it has no group of its own yet
        os.kill(process.pid, signal.SIGKILL)
    process.join()


def _stored(folder: Path) -> int:
    return len(list(folder.glob("digits/train/shards/*.json")))


@pytest.mark.slow
@pytest.mark.parametrize("store_format", ["zarr", "hdf5"])
def test_ten_kills_at_random_moments_leave_no_trace(tmp_path: Path, files: Files, store_format: str) -> None:
    whole = _start(_words(tmp_path / "whole", store_format))
    whole.join()
    assert whole.exitcode == 0

    moments = random.Random(store_format)
    words = _words(tmp_path / "killed", store_format)
    for _ in range(KILLS):
        # one shard more at most, so that ten kills all hit a run that has work left
        wanted = _stored(tmp_path / "killed") + moments.randint(0, 1)
        process = _start(words)
        while _stored(tmp_path / "killed") < wanted:
            assert process.is_alive()
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.1))
        assert process.is_alive()
        _kill(process)
    last = _start(words)
    last.join()
    assert last.exitcode == 0
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


def _wait_for(pattern: str, folder: Path, process: subprocess.Popen[str]) -> None:
    while not list(folder.glob(pattern)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.fixture
def running(tmp_path: Path) -> subprocess.Popen[str]:
    """An extraction in `tmp_path/store` that has stored a shard and goes on for a while."""
    process = subprocess.Popen(
        [Path(sys.executable).with_name("extract"), *_words(tmp_path / "store", "zarr"), "--batch-size", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _wait_for("store/digits/train/shards/*.json", tmp_path, process)
    return process


def test_control_c_keeps_whole_shards_and_says_so(tmp_path: Path, running: subprocess.Popen[str]) -> None:
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert errors.strip().splitlines()[-1].startswith("extract: interrupted")
    assert list(tmp_path.glob("store/digits/train/shards/*.json"))
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_second_writer_is_refused(tmp_path: Path, running: subprocess.Popen[str], run: Run) -> None:
    second = run("extract", *_words(tmp_path / "store", "zarr"), cwd=tmp_path)
    running.kill()
    running.communicate()
    assert second.returncode == 2
    assert second.stderr.count("\n") == 1
    assert f"is being written by process {running.pid}" in second.stderr


@pytest.mark.slow
def test_two_processes_write_the_same_bytes_as_one(
    tmp_path: Path, run: Run, run_installed: Run, files: Files
) -> None:
    alone = run("extract", *_words(tmp_path / "alone", "zarr"), cwd=tmp_path)
    together = run_installed(
        "torchrun", "--standalone", "--nproc_per_node", "2", "-m", "extract",
        *_words(tmp_path / "two", "zarr"), cwd=tmp_path,
    )  # fmt: skip
    assert alone.returncode == 0, alone.stderr
    assert together.returncode == 0, together.stderr
    assert "in each of 2 processes" in together.stdout
    assert files(tmp_path / "two") == files(tmp_path / "alone")

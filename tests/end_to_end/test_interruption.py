"""Whatever stops a run, the same command ends in the same bytes."""

from __future__ import annotations

import json
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

    # data workers are forked, as they are for a user; this child would start a server for them
    multiprocessing.set_start_method("fork", force=True)
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
    running.send_signal(signal.SIGSTOP)  # it must not end before the second has begun
    second = run("extract", *_words(tmp_path / "store", "zarr"), cwd=tmp_path)
    running.kill()
    running.communicate()
    assert second.returncode == 2
    assert second.stderr.count("\n") == 1
    assert f"is being written by process {running.pid}" in second.stderr


def _start_part(out: Path, part: str) -> multiprocessing.process.BaseProcess:
    return _start([*_words(out, "zarr"), "--part", part])


@pytest.mark.slow
@pytest.mark.parametrize("parts", [2, 3])
def test_parts_at_once_write_the_same_bytes_as_one_run(
    tmp_path: Path, run: Run, files: Files, parts: int
) -> None:
    alone = run("extract", *_words(tmp_path / "alone", "zarr"), cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    jobs = [_start_part(tmp_path / "parts", f"{number}/{parts}") for number in range(1, parts + 1)]
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0] * parts
    assert files(tmp_path / "parts") == files(tmp_path / "alone")


def test_a_killed_part_is_finished_by_another_number_of_parts(tmp_path: Path, run: Run, files: Files) -> None:
    alone = run("extract", *_words(tmp_path / "alone", "zarr"), cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    out = tmp_path / "parts"
    killed, survivor = _start_part(out, "1/3"), _start_part(out, "3/3")
    while not (out / "digits/train/shards/00000.json").exists():
        assert killed.is_alive()
        time.sleep(0.001)
    assert killed.is_alive()
    _kill(killed)
    survivor.join()
    assert survivor.exitcode == 0
    halves = [run("extract", *_words(out, "zarr"), "--part", f"{n}/2", cwd=tmp_path) for n in (2, 1)]
    assert [half.returncode for half in halves] == [0, 0], [half.stderr for half in halves]
    assert "part 2/2 is done" in halves[0].stdout  # and shards of the first are missing
    assert "1,200 images" in halves[1].stdout
    assert files(out) == files(tmp_path / "alone")


def test_a_part_that_another_job_is_at_is_refused(
    tmp_path: Path, running: subprocess.Popen[str], run: Run
) -> None:
    running.send_signal(signal.SIGSTOP)
    again = run("extract", *_words(tmp_path / "store", "zarr"), "--part", "1/4", cwd=tmp_path)
    running.kill()
    running.communicate()
    assert again.returncode == 2
    assert f"is being written by process {running.pid}" in again.stderr


def _launched(processes: int, out: Path) -> list[str | Path]:
    launcher = ["--standalone", "--nproc_per_node", str(processes), "-m", "extract"]
    return [Path(sys.executable).with_name("torchrun"), *launcher, *_words(out, "zarr")]


def _child_of(launcher: subprocess.Popen[str], rank: int) -> int:
    """The process that `torchrun` started as `rank`."""
    for child in Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split():
        if f"\0RANK={rank}\0" in Path(f"/proc/{child}/environ").read_text():
            return int(child)
    raise AssertionError(f"torchrun has no process {rank}")


@pytest.mark.slow
def test_a_killed_process_is_made_up_for_by_another_number_of_processes(
    tmp_path: Path, run: Run, files: Files
) -> None:
    alone = run("extract", *_words(tmp_path / "alone", "zarr"), cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    out = tmp_path / "store"
    pipes: dict[str, int] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(_launched(3, out), text=True, **pipes) as launcher:
        _wait_for("store/digits/train/shards/*.json", tmp_path, launcher)
        os.kill(_child_of(launcher, 1), signal.SIGKILL)
        launcher.communicate(timeout=120)
        assert launcher.returncode != 0
    assert _stored(out) < 30
    second = subprocess.run(_launched(2, out), capture_output=True, text=True, timeout=300, check=False)
    assert second.returncode == 0, second.stderr
    assert "in each of 2 processes" in second.stdout
    assert files(out) == files(tmp_path / "alone")


@pytest.mark.slow
def test_processes_count_together_what_they_wrote(tmp_path: Path) -> None:
    changes = ["--limit", "101", "--shard-size", "50", "--split", "test", "--json"]
    launched = [*_launched(2, tmp_path / "store"), *changes]
    ended = subprocess.run(launched, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    (split,) = json.loads(ended.stdout)["splits"]
    assert split["written_images"] == 101

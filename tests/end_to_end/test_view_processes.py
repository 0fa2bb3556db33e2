"""Views that several processes extract, with and without parts, are those of one process to the byte."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from extract.command import extract
from extract.options import ExtractOptions

Launch = Callable[..., subprocess.CompletedProcess[str]]
Files = Callable[[Path], dict[str, bytes]]

SETTINGS = {
    **{"backbone": "mae_digits", "dataset": "digits", "split": "train", "limit": 72, "shard_size": 8},
    **{"batch_size": 8, "workers": 0, "views": 3, "augment": "rrc_mild"},
}
WORDS = [str(word) for name, value in SETTINGS.items() for word in (f"--{name.replace('_', '-')}", value)]

PROGRAM = """
import os
from pathlib import Path
from extract.command import main

try:
    main()
finally:
    threads = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
    talking = "".join(name for name in threads if "gloo" in name)
    Path(os.environ["THREADS"], os.environ["RANK"]).write_text(talking)
"""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of one process. Do not change it."""
    store = tmp_path_factory.mktemp("alone") / "store"
    extract(ExtractOptions(**SETTINGS, out=store))
    return store


@pytest.fixture(scope="module")
def launch(tmp_path_factory: pytest.TempPathFactory) -> Launch:
    """Run `extract` in so many processes on the CPU, and wait for them.

    Each writes which threads of its group are left, by its rank, into a folder that is given.
    """
    program = tmp_path_factory.mktemp("program") / "program.py"
    program.write_text(PROGRAM)

    def finished(processes: int, threads: Path, *words: object) -> subprocess.CompletedProcess[str]:
        threads.mkdir()
        torchrun = Path(sys.executable).with_name("torchrun")
        start = [torchrun, "--standalone", "--nproc_per_node", str(processes), program]
        hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "THREADS": str(threads)}
        return subprocess.run(
            [*start, *WORDS, *map(str, words)],
            env=hidden,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return finished


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux")
def test_processes_extract_the_views_of_one_and_leave_in_order(
    alone: Path, launch: Launch, tmp_path: Path, files: Files
) -> None:
    ended = launch(3, tmp_path / "threads", "--out", tmp_path / "store")
    assert ended.returncode == 0, ended.stderr
    assert files(tmp_path / "threads") == {"0": b"", "1": b"", "2": b""}
    assert "72 images in 3 views" in ended.stdout
    assert files(tmp_path / "store") == files(alone)


@pytest.mark.slow
def test_processes_of_a_part_share_out_its_shards(
    alone: Path, launch: Launch, tmp_path: Path, files: Files
) -> None:
    first = launch(2, tmp_path / "first", "--out", tmp_path / "store", "--part", "1/2")
    assert first.returncode == 0, first.stderr
    assert "part 1/2 is done" in first.stdout
    assert "5 of 9 shards are stored" in first.stdout  # of four processes in all, these have 0, 4, 8 and 1, 5
    second = launch(2, tmp_path / "second", "--out", tmp_path / "store", "--part", "2/2")
    assert second.returncode == 0, second.stderr
    assert files(tmp_path / "store") == files(alone)


def test_parts_extract_the_views_of_one_job(alone: Path, tmp_path: Path, files: Files) -> None:
    for part in ("3/3", "1/3", "2/3"):
        extract(ExtractOptions(**SETTINGS, out=tmp_path / "store", part=part))
    assert files(tmp_path / "store") == files(alone)

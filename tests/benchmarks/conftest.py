"""Running a benchmark as its user does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

RunBenchmark = Callable[..., subprocess.CompletedProcess[str]]

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="session")
def run_benchmark() -> RunBenchmark:
    """Run a script of `benchmarks/` in a folder: its exit code, and what it printed."""

    def run(script: str, folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, BENCHMARKS / script, *map(str, words)],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run

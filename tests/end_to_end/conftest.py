"""Running the commands as a user does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def run_installed() -> Run:
    """`run_installed("extract", "--backbone", …, cwd=folder)`: the installed program, in a new process."""

    def finished(program: str, *words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
        path = Path(sys.executable).with_name(program)
        return subprocess.run(
            [path, *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
        )

    return finished


@pytest.fixture(scope="session")
def files() -> Callable[[Path], Mapping[str, bytes]]:
    """Every file below a folder, by its path: to compare two stores byte for byte."""

    def content(folder: Path) -> dict[str, bytes]:
        found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}

    return content

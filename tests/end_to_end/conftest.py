"""Running the commands as a user does."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

COMMANDS = ["extract.command", "probe.command", "cache.command"]


@pytest.fixture(scope="session")
def run_installed() -> Run:
    """`run_installed("extract", "--backbone", …, cwd=folder)`: the installed program, in a new process."""

    def finished(program: str, *words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
        path = Path(sys.executable).with_name(program)
        return subprocess.run(
            [path, *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
        )

    return finished


def _in_child(command: str, words: list[str], cwd: Path, output: Path) -> None:
    os.chdir(cwd)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(output / name, os.O_WRONLY | os.O_CREAT), descriptor)
    # data workers are forked, as they are in a process of its own; this child would start a server for them
    multiprocessing.set_start_method("fork", force=True)
    sys.argv = [command, *words]
    importlib.import_module(f"{command}.command").main()


@pytest.fixture(scope="session")
def run() -> Run:
    """As `run_installed`, in a process forked from one that has imported the commands: no start-up time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(COMMANDS)

    def finished(command: str, *words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
        arguments = [str(word) for word in words]
        with tempfile.TemporaryDirectory() as output:
            process = context.Process(target=_in_child, args=(command, arguments, cwd, Path(output)))
            process.start()
            process.join(300)
            assert process.exitcode is not None, f"{command} {arguments} did not end"
            texts = [(Path(output) / name).read_text() for name in ("stdout", "stderr")]
        return subprocess.CompletedProcess(arguments, process.exitcode, *texts)

    return finished


@pytest.fixture(scope="session")
def files() -> Callable[[Path], Mapping[str, bytes]]:
    """Every file below a folder, by its path: to compare two stores byte for byte."""

    def content(folder: Path) -> dict[str, bytes]:
        found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}

    return content

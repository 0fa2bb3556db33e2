"""What imports what, and when."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ORDER = ("configs", "cache", "extract", "probe", "benchmarks")
"""Each may import itself and those before it."""

SLOW = {"timm", "torchvision", "transformers", "open_clip", "datasets", "matplotlib", "tensorboard"}
"""Packages that no help and no list of options needs."""


def _imported(file: Path) -> Iterator[str]:
    """Packages, wherever in the file they are imported."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("package", ORDER)
def test_dependencies_point_one_way(package: str) -> None:
    later = {*ORDER[ORDER.index(package) + 1 :], "tests"}
    files = list((ROOT / package).rglob("*.py"))
    assert files
    wrong = [f"{file.relative_to(ROOT)}: {name}" for file in files for name in later & set(_imported(file))]
    assert wrong == []


@pytest.mark.parametrize("command", ["probe"])
def test_a_command_is_ready_without_slow_packages(command: str) -> None:
    program = f"import sys, {command}.command; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert SLOW & set(ended.stdout.split()) == set()

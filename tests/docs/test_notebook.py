"""The notebook of the documentation."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebooks" / "digits.ipynb"


def _pictures(notebook: nbformat.NotebookNode) -> list[int]:
    """How many pictures each cell shows."""
    return [sum("image/png" in o.get("data", {}) for o in cell.get("outputs", [])) for cell in notebook.cells]


@pytest.mark.slow
def test_the_notebook_runs_and_shows_what_is_stored_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = Path(sys.executable).parent  # as in an environment that is activated
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    stored = nbformat.read(NOTEBOOK, as_version=4)
    again = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(again, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert sum(_pictures(again)) > 0
    assert _pictures(again) == _pictures(stored)


def test_the_stored_notebook_has_been_run_in_order() -> None:
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))

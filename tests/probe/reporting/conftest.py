"""Finished runs of several kinds on the toy store, and a page's parts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from probe import FitOptions, run_fit
from probe.reporting import read_run, write_report

HOSTILE = ("<script>alert(1)</script>", '$x_1$ & "y"', "a\nb\x07", "犬", "x" * 60, "--> ]]>")
"""Names of classes as a stranger's folder may have them."""

KINDS: dict[str, dict[str, Any]] = {
    "plain": {"probe": ("lp", "ep4", "knn", "logreg"), "neighbours": (5,), "seed": (0, 1)},
    "one": {"probe": ("lp",), "epochs": 1},
    "sweep": {
        "probe": ("lp", "ep4"), "lr": (0.003, 0.03, 1e6), "weight_decay": (0.0, 0.1), "prune": True,
        "epochs": 8,
    },
    "rates": {"probe": ("lp",), "lr": (0.003, 0.03)},
    "blocks": {"probe": ("lp", "ep4"), "block": ("all",)},
    "shots": {"probe": ("lp", "knn"), "shots": (1, 4), "draws": 2, "neighbours": (1,)},
    "closed": {"probe": ("knn",), "neighbours": (1, 5), "retrieval": True},
}  # fmt: skip


@pytest.fixture(scope="session")
def hostile_store(make_store: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Blocks 1 and 3, and classes with `HOSTILE` names."""
    return make_store(tmp_path_factory.mktemp("stores") / "<b>toy", classes=HOSTILE, blocks=(1, 3))


@pytest.fixture(scope="session")
def run_of(hostile_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a finished run of one of `KINDS`, made once."""
    runs = tmp_path_factory.mktemp("runs")

    def folder(kind: str) -> Path:
        if not (runs / kind).exists():
            usual = {"recipe": "fast", "epochs": 3, "lr": (0.02,), "device": "cpu", "report": False}
            run_fit(FitOptions(**{**usual, **KINDS[kind]}, cache=hostile_store, runs=runs, name=kind))
        return runs / kind

    return folder


@pytest.fixture
def changed_run(run_of: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    """A copy of the results of a run, whose configuration and answers a function has changed."""

    def change(kind: str, edit: Callable[[dict[str, Any]], None]) -> Path:
        results = json.loads((run_of(kind) / "results.json").read_text())
        edit(results)
        folder = tmp_path / "changed"
        folder.mkdir()
        (folder / "results.json").write_text(json.dumps(results))
        (folder / "metrics.jsonl").write_bytes((run_of(kind) / "metrics.jsonl").read_bytes())
        return folder

    return change


@dataclass
class Page(HTMLParser):
    """What a browser would find in a page."""

    parts: list[str] = field(default_factory=list)
    """The sections, by what they are about."""
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""
    open_tags: list[str] = field(default_factory=list)

    VOID = ("meta", "img", "br", "link")

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag not in self.VOID:
            self.open_tags.append(tag)
        if part := attributes.get("data-part"):
            self.parts.append(part)

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="session")
def read_page() -> Callable[[Path], Page]:
    """Parse a page; tags that are not closed in their order fail."""

    def read(path: Path) -> Page:
        page = Page()
        page.feed(path.read_text())
        page.close()
        assert page.open_tags == []
        return page

    return read


@pytest.fixture(scope="session")
def page_of(
    run_of: Callable[[str], Path],
    read_page: Callable[[Path], Page],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], tuple[Page, Path]]:
    """The page of one of `KINDS`, and the folder that it was written into, made once."""
    pages: dict[str, tuple[Page, Path]] = {}

    def page(kind: str) -> tuple[Page, Path]:
        if kind not in pages:
            folder = tmp_path_factory.mktemp(kind)
            pages[kind] = read_page(write_report([read_run(run_of(kind))], folder)), folder
        return pages[kind]

    return page

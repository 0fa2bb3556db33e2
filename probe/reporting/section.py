"""What a part of the page is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from probe.reporting.finished_runs import FinishedRun
from probe.reporting.style import Picture


@dataclass(frozen=True)
class Table:
    """Cells as they are shown. Columns from `numbers` on hold numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: int = 1


@dataclass(frozen=True)
class Section:
    """One part of the page."""

    name: str
    """What it is about, in a word."""
    title: str
    words: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    """A list below the rest."""


def numbered(name: str, number: int, of: Sequence[object]) -> str:
    """A picture's name; with a number where there are several of its kind."""
    return f"{name}-{number + 1}" if len(of) > 1 else name


def of_run(picture: Picture, run: FinishedRun, runs: Sequence[FinishedRun]) -> Picture:
    """The picture, with the run's name in its caption where there are several."""
    caption = f"{run.name}: {picture.caption}" if len(runs) > 1 else picture.caption
    return Picture(picture.name, picture.svg, caption)

"""Taking contenders in turn, round by round, and what came of it."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from rich.console import Console
from rich.progress import track

Role: TypeAlias = Literal["ours", "ceiling", "other"]


def _nothing() -> None:
    """No preparation."""


@dataclass(frozen=True)
class Contender:
    """One way to do the work. `run` goes through images and says how many; `prepare` is not timed."""

    label: str
    run: Callable[[], int]
    image_bytes: int
    role: Role = "other"
    prepare: Callable[[], None] = _nothing


@dataclass(frozen=True)
class Row:
    """One contender's rounds. The share of the ceiling is 1 for the ceiling itself."""

    label: str
    role: Role
    image_bytes: int
    images_per_second: float  # median of the rounds
    ceiling_share: float  # ratio of the medians
    fastest_share: float  # ratio of the fastest rounds, which others on the machine disturb least
    ceiling_share_low: float  # lowest and highest ratio within one round
    ceiling_share_high: float
    seconds_per_image: tuple[float, ...]  # of each round


@dataclass(frozen=True)
class Section:
    """Contenders measured together, fastest first."""

    name: str
    title: str
    ceiling: str  # label of the one that all shares are of
    rows: tuple[Row, ...]
    not_installed: tuple[str, ...] = ()
    note: str = ""


def take_turns(contenders: Sequence[Contender], rounds: int, title: str) -> dict[str, list[float]]:
    """Seconds per image of each contender in each round.

    Every round has another order, so that none always pays for what the same other left behind.
    """
    seconds: dict[str, list[float]] = {contender.label: [] for contender in contenders}
    shuffled = random.Random(0)
    console = Console(stderr=True)
    for _ in track(range(rounds), title, console=console, transient=True, disable=not console.is_terminal):
        for contender in shuffled.sample(contenders, len(contenders)):
            contender.prepare()
            begin = time.perf_counter()
            images = contender.run()
            seconds[contender.label].append((time.perf_counter() - begin) / images)
    return seconds


def measure(
    name: str,
    title: str,
    contenders: Sequence[Contender],
    *,
    rounds: int,
    not_installed: Sequence[str] = (),
    note: str = "",
) -> Section:
    """Take turns and compare all with the first ceiling among `contenders`."""
    seconds = take_turns(contenders, rounds, title)
    return compare(name, title, contenders, seconds, not_installed=not_installed, note=note)


def compare(
    name: str,
    title: str,
    contenders: Sequence[Contender],
    seconds: Mapping[str, list[float]],
    *,
    not_installed: Sequence[str] = (),
    note: str = "",
) -> Section:
    """Compare all with the first ceiling among `contenders`. `seconds`: label → per image, of each round."""
    ceiling = next(contender.label for contender in contenders if contender.role == "ceiling")
    rows = [_row(contender, seconds[contender.label], seconds[ceiling]) for contender in contenders]
    rows.sort(key=lambda row: row.ceiling_share, reverse=True)
    return Section(name, title, ceiling, tuple(rows), tuple(not_installed), note)


def _row(contender: Contender, seconds: list[float], ceiling: list[float]) -> Row:
    shares = [least / taken for least, taken in zip(ceiling, seconds, strict=True)]
    return Row(
        label=contender.label,
        role=contender.role,
        image_bytes=contender.image_bytes,
        images_per_second=1 / statistics.median(seconds),
        ceiling_share=statistics.median(ceiling) / statistics.median(seconds),
        fastest_share=min(ceiling) / min(seconds),
        ceiling_share_low=min(shares),
        ceiling_share_high=max(shares),
        seconds_per_image=tuple(seconds),
    )

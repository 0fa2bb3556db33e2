"""What a run prints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from probe.cost import ProbeCost
from probe.outcome import EpochRow
from probe.selection import Answer

MOST_LINES = 4
"""Lines an epoch prints; of more trials, the best of each probe."""


def epoch_lines(rows: Sequence[EpochRow], epochs: int, probes: Sequence[str]) -> list[str]:
    """A line for each trial of an epoch, or for the best one of each probe where there are many.

    `probes`: the probe of every row.
    """
    if len(rows) <= MOST_LINES:
        return [_line(row, epochs, "") for row in rows]
    lines = []
    for probe in dict.fromkeys(probes):
        own = [row for row, name in zip(rows, probes, strict=True) if name == probe]
        best = max(own, key=score)
        lines.append(_line(best, epochs, f"  (best of {len(own)})" if len(own) > 1 else ""))
    return lines


def score(row: EpochRow) -> float:
    """What trials are compared by on the screen: never the evaluation split, where others were held out."""
    found = row.held_out_top1 if row.held_out_top1 is not None else row.top1
    return -row.loss if found is None else found


def _line(row: EpochRow, epochs: int, note: str) -> str:
    parts = [f"epoch {row.epoch:>3}/{epochs}  {row.trial:<12} loss {row.loss:8.4f}"]
    if row.held_out_top1 is not None:
        parts.append(f"held-out top-1 {row.held_out_top1:6.2f}")
    if row.top1 is not None:
        parts.append(f"top-1 {row.top1:6.2f}  top-5 {row.top5:6.2f}")
    parts.append(f"{row.images_per_second:>9,.0f} images/s{note}")
    return "  ".join(parts)


def print_answers(
    found: Sequence[Answer], costs: Sequence[ProbeCost | None], split: str, folder: Path
) -> None:
    """The closing table, best first."""
    terminal = Console()
    console = terminal if terminal.is_terminal else Console(width=100)
    console.print(answer_table(found, costs, split))
    for answer in found:
        if answer.retrieval is not None:
            scores = ", ".join(f"{name} {value:.2f}" for name, value in answer.retrieval.items())
            print(f"{_named(answer, found)}, {split} among the training images: {scores}")
    print(f"results: {folder}")


def _named(answer: Answer, found: Sequence[Answer]) -> str:
    """Its probe, and what tells it from the others."""
    fields = [name for name in _columns(found) if name != "setting"]
    return " ".join([answer.probe, *(f"{name}={_shown(getattr(answer, name))}" for name in fields)])


def print_answers_as_json(
    found: Sequence[Answer], costs: Sequence[ProbeCost | None], split: str, folder: Path
) -> None:
    """The run's folder and its answers, with what each probe costs, in the order they were asked."""
    answers = [
        asdict(answer) | {"parameters": cost and cost.parameters, "gflops": cost and cost.gflops}
        for answer, cost in zip(found, costs, strict=True)
    ]
    print(json.dumps({"run": str(folder), "evaluation": split, "answers": answers}, indent=1))


def answer_table(found: Sequence[Answer], costs: Sequence[ProbeCost | None], split: str) -> Table:
    """Answers, best first, without columns in which none differs. Classifiers in closed form cost None."""
    held_out = any(answer.held_out_top1 is not None for answer in found)
    how = " (setting chosen on held-out training images)" if held_out else ""
    table = Table(
        title=f"top-1 on {split}, last epoch{how}",
        caption=f"best: highest epoch{' and setting' if held_out else ''} on {split} itself, as papers "
        "report; optimistic",
    )
    table.add_column("probe")
    columns = _columns(found)
    for name in (*columns, "parameters", "GFLOPs", *(["held-out"] if held_out else []), "top-1", "best"):
        table.add_column(name, justify="right", no_wrap=True)
    for answer, cost in sorted(zip(found, costs, strict=True), key=lambda pair: -pair[0].top1):
        cells = [_shown(getattr(answer, name)) for name in columns]
        cells += ["", ""] if cost is None else [f"{cost.parameters:,}", f"{cost.gflops:.3g}"]
        if held_out:
            cells.append(percent(answer.held_out_top1))
        cells += [
            percent(answer.top1, answer.top1_deviation),
            percent(answer.best_top1, answer.best_top1_deviation),
        ]
        table.add_row(answer.probe, *cells)
    return table


def _columns(found: Sequence[Answer]) -> list[str]:
    """Where answers differ, and the setting where it was chosen."""
    names = ("blocks", "tokens", "shots", "fraction", "setting")
    chosen = ["setting"] if any(answer.held_out_top1 is not None for answer in found) else []
    return [n for n in names if n in chosen or len({getattr(answer, n) for answer in found}) > 1]


def _shown(value: object) -> str:
    if value is None:
        return "all"
    if isinstance(value, tuple):
        return "+".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def percent(value: float | None, deviation: float | None = None) -> str:
    """An accuracy as it is shown; nothing for None."""
    if value is None:
        return ""
    return f"{value:.2f}" if deviation is None else f"{value:.2f} ± {deviation:.2f}"

"""What was chosen among: accuracy over learning rate and weight decay."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from probe.reporting.finished_runs import FinishedRun, Result, result_names
from probe.reporting.style import SEQUENTIAL, Picture, log_axis, looks, new_figure, save

MOST_PANELS = 6


@dataclass(frozen=True)
class Sweep:
    """One question's settings: (lr, weight decay) → mean accuracy in percent over seeds and draws."""

    title: str
    accuracies: Mapping[tuple[float, float], float]
    pruned: frozenset[tuple[float, float]]
    chosen: tuple[float, float]

    @property
    def rates(self) -> list[float]:
        """Learning rates, ascending."""
        return sorted({rate for rate, _ in self.accuracies})

    @property
    def decays(self) -> list[float]:
        """Weight decays, ascending."""
        return sorted({decay for _, decay in self.accuracies})


def sweeps(run: FinishedRun) -> list[Sweep]:
    """Of the answers that chose among several settings."""
    results = [Result(run, number) for number, answer in enumerate(run.answers) if answer["lr"] is not None]
    found = []
    for result, title in zip(results, result_names(results), strict=True):
        rows = [row for row in run.trials if _same_question(row, result.answer)]
        if result.answer["held_out_top1"] is not None and len({_choice(row) for row in rows}) > 1:
            found.append(_sweep(title, rows, result.answer))
    return found


def _same_question(row: Mapping[str, Any], answer: Mapping[str, Any]) -> bool:
    fields = ("probe", "tokens", "shots", "fraction")
    same = all(row[field] == answer[field] for field in fields)
    return same and row["blocks"] == "+".join(map(str, answer["blocks"]))


def _choice(row: Mapping[str, Any]) -> tuple[float, float]:
    return row["lr_given"], row["weight_decay"]


def _sweep(title: str, rows: Sequence[Mapping[str, Any]], answer: Mapping[str, Any]) -> Sweep:
    measured: dict[tuple[float, float], list[float]] = {}
    for row in rows:
        measured.setdefault(_choice(row), []).append(row["held_out_top1"])
    return Sweep(
        title,
        {choice: statistics.fmean(values) for choice, values in measured.items()},
        frozenset(_choice(row) for row in rows if row["pruned"]),
        (answer["lr"], answer["weight_decay"]),
    )


def draw_sweeps(found: Sequence[Sweep], folder: Path, name: str) -> Picture:
    """A heat map for each question, or curves over the learning rate where there is one weight decay."""
    if all(len(sweep.decays) == 1 for sweep in found):
        return _draw_curves(found, folder, name)
    shown = found[:MOST_PANELS]
    columns = min(len(shown), 2)
    rows = math.ceil(len(shown) / columns)
    width, height = 1.6 + 0.72 * len(shown[0].rates), 1.7 + 0.42 * len(shown[0].decays)
    figure = new_figure(max(columns * width, 5), rows * height)
    panels = figure.subplots(rows, columns, squeeze=False).flat
    values = [value for sweep in shown for value in sweep.accuracies.values()]
    norm = Normalize(min(values), max(values))
    for axes, sweep in zip(panels, shown, strict=False):
        _draw_map(axes, sweep, norm)
    for axes in list(panels)[len(shown) :]:
        axes.axis("off")
    caption = (
        "Top-1 on the held-out training images, in percent, after the last epoch that a setting was "
        "trained for; mean over seeds and draws. The chosen setting is framed."
    )
    if any(sweep.pruned for sweep in shown):
        caption += " Settings in brackets were pruned early."
    return save(figure, folder, name, caption + _left_out(found))


def _draw_map(axes: Axes, sweep: Sweep, norm: Normalize) -> None:
    rates, decays = sweep.rates, sweep.decays
    grid = np.full((len(decays), len(rates)), np.nan)
    for (rate, decay), value in sweep.accuracies.items():
        grid[decays.index(decay), rates.index(rate)] = value
    axes.imshow(grid, cmap=SEQUENTIAL, norm=norm, aspect="auto", origin="lower")
    for choice, value in sweep.accuracies.items():
        text = f"({value:.1f})" if choice in sweep.pruned else f"{value:.1f}"
        color = "white" if norm(value) < 0.55 else "black"
        place = rates.index(choice[0]), decays.index(choice[1])
        axes.text(*place, text, ha="center", va="center", color=color, fontsize=8)
    left, bottom = rates.index(sweep.chosen[0]) - 0.5, decays.index(sweep.chosen[1]) - 0.5
    axes.add_patch(
        Rectangle((left, bottom), 1, 1, fill=False, edgecolor="#D55E00", linewidth=2.5, clip_on=False)
    )
    axes.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates], rotation=45, ha="right")
    axes.set_yticks(range(len(decays)), [f"{decay:g}" for decay in decays])
    axes.grid(False)
    axes.set(title=sweep.title, xlabel="learning rate, as the recipe gives it", ylabel="weight decay")


def _draw_curves(found: Sequence[Sweep], folder: Path, name: str) -> Picture:
    figure = new_figure(7.5, 4.2)
    axes = figure.subplots()
    shown = found[: 2 * MOST_PANELS]
    for sweep, look in zip(shown, looks(len(shown)), strict=True):
        heights = [sweep.accuracies[rate, sweep.decays[0]] for rate in sweep.rates]
        axes.plot(sweep.rates, heights, label=sweep.title, markersize=5, **look)
        axes.plot(
            sweep.chosen[0],
            sweep.accuracies[sweep.chosen],
            marker="o",
            markersize=13,
            markerfacecolor="none",
            markeredgecolor=look["color"],
        )
    log_axis(axes.xaxis, [rate for sweep in shown for rate in sweep.rates])
    axes.set(xlabel="learning rate, as the recipe gives it", ylabel="top-1 on held-out training images (%)")
    axes.legend(loc="best")
    caption = (
        "Accuracy on the held-out training images against the learning rate, after the last epoch that "
        "a setting was trained for; mean over seeds and draws. The chosen rate of each line is ringed."
    )
    return save(figure, folder, name, caption + _left_out(found, 2 * MOST_PANELS))


def _left_out(found: Sequence[Sweep], most: int = MOST_PANELS) -> str:
    if len(found) <= most:
        return ""
    return f" The first {most} of {len(found)} questions are drawn; results.csv has all."

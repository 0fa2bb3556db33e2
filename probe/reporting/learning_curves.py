"""Loss and accuracy of a run's trials over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator

from probe.reporting.finished_runs import FinishedRun
from probe.reporting.style import GREY, Picture, legend_beside, log_axis, looks, new_figure, save

MOST_NAMED = 12
"""Trials with a colour of their own; the others are grey."""

_MEASURES = {"held_out_top1": "top-1 on held-out training images (%)", "top1": "top-1 on {} (%)"}


def draw_learning_curves(run: FinishedRun, folder: Path, name: str) -> Picture | None:
    """None where nothing was trained in steps."""
    by_trial: dict[str, list[Mapping[str, Any]]] = {}
    for row in run.epochs:
        by_trial.setdefault(row["trial"], []).append(row)
    if not by_trial:
        return None
    chosen = [trial for answer in run.answers for trial in answer["trials"]]
    named = sorted(chosen, key=lambda trial: -run.trial_by_name[trial]["top1_last"])[:MOST_NAMED]
    measure = "held_out_top1" if any("held_out_top1" in row for row in run.epochs) else "top1"
    figure = new_figure(10, 4.2)
    left, right = figure.subplots(1, 2)
    for trial in [trial for trial in by_trial if trial not in named]:
        for axes, column in ((left, "loss"), (right, measure)):
            _line(axes, by_trial[trial], column, color=GREY, alpha=0.45, linewidth=0.8, zorder=1)
    for trial, look in zip(named, looks(len(named)), strict=True):
        for axes, column in ((left, "loss"), (right, measure)):
            spaced = max(1, len(by_trial[trial]) // 8)
            _line(axes, by_trial[trial], column, label=trial, markersize=4, markevery=spaced, **look)
    _label(left, "training loss (cross-entropy, nats)", by_trial)
    _label(right, _MEASURES[measure].format(run.evaluation), by_trial)
    legend_beside(right, len(named))
    _leave_out_diverged(left, [by_trial[trial] for trial in named])
    return save(figure, folder, name, _caption(len(by_trial), len(named), len(chosen)))


def _line(axes: Axes, rows: Sequence[Mapping[str, Any]], column: str, **look: Any) -> None:
    own = [row for row in rows if column in row]
    if len(own) == 1:
        look = {**look, "marker": look.get("marker", "."), "markevery": 1}
    axes.plot([row["epoch"] for row in own], [row[column] for row in own], **look)


def _label(axes: Axes, title: str, by_trial: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    axes.set(xlabel="epoch", ylabel=title)
    last = max(row["epoch"] for rows in by_trial.values() for row in rows)
    axes.set_xlim(0.5 if last < 5 else 0, last + (0.5 if last < 5 else last * 0.02))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True) if last > 10 else FixedLocator(range(1, last + 1)))


def _leave_out_diverged(axes: Axes, named: Sequence[Sequence[Mapping[str, Any]]]) -> None:
    """The loss axis is that of the chosen trials, logarithmic where these differ widely.

    One that diverged would flatten all others.
    """
    losses = [row["loss"] for rows in named for row in rows if "loss" in row]
    if losses and max(losses) > 1000 * min(losses) > 0:
        log_axis(axes.yaxis, losses)
    elif losses and max(losses) > min(losses):
        room = 0.05 * (max(losses) - min(losses))
        axes.set_ylim(min(losses) - room, max(losses) + room)


def _caption(trials: int, named: int, chosen: int) -> str:
    parts = ["Each trial's mean training loss over an epoch, and its accuracy after it."]
    if trials > named:
        parts.append(f"{named} of {trials} trials are in colour: those that were chosen")
        parts[-1] += f", the best {named} of {chosen}." if chosen > named else "."
        parts.append(
            "Grey are the others; a line that ends early was pruned, one that leaves the loss axis diverged."
        )
    return " ".join(parts)

"""Loss and accuracy of a run's trials over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator

from probe.reporting.finished_runs import FinishedRun, result_names, results_of
from probe.reporting.style import GREY, Picture, legend_beside, log_axis, looks, new_figure, save

MOST_NAMED = 12
"""Answers with a colour of their own, which their seeds and draws share; all other trials are grey."""

_MEASURES = {"held_out_top1": "top-1 on held-out training images (%)", "top1": "top-1 on {} (%)"}


def draw_learning_curves(run: FinishedRun, folder: Path, name: str) -> Picture | None:
    """None where nothing was trained in steps."""
    by_trial: dict[str, list[Mapping[str, Any]]] = {}
    for row in run.epochs:
        by_trial.setdefault(row["trial"], []).append(row)
    if not by_trial:
        return None
    chosen = [result for result in results_of([run]) if result.trials]
    # best first: the colours of the other pictures
    named = sorted(zip(result_names(chosen), chosen, strict=True), key=lambda pair: -pair[1].top1)[
        :MOST_NAMED
    ]
    colored = {trial for _, result in named for trial in result.answer["trials"]}
    measure = "held_out_top1" if any("held_out_top1" in row for row in run.epochs) else "top1"
    figure = new_figure(10, 4.2)
    left, right = figure.subplots(1, 2)
    for axes, column in ((left, "loss"), (right, measure)):
        for trial in [trial for trial in by_trial if trial not in colored]:  # in order: the same bytes
            _line(axes, by_trial[trial], column, color=GREY, alpha=0.45, linewidth=0.8, zorder=1)
        for (title, result), look in zip(named, looks(len(named)), strict=True):
            repeats = [by_trial[trial] for trial in result.answer["trials"]]
            _draw_repeats(axes, repeats, column, title, look)
    _label(left, "training loss (cross-entropy, nats)", by_trial)
    _label(right, _MEASURES[measure].format(run.evaluation), by_trial)
    legend_beside(right, len(named))
    _leave_out_diverged(left, [by_trial[trial] for trial in colored])
    caption = _caption(len(by_trial), len(colored), len(named), len(chosen))
    return save(figure, folder, name, caption)


def _draw_repeats(
    axes: Axes,
    repeats: Sequence[Sequence[Mapping[str, Any]]],
    column: str,
    title: str,
    look: Mapping[str, Any],
) -> None:
    """A line for each seed or draw, thin where there are several; the legend names them once."""
    size = {"markersize": 4.0} if len(repeats) == 1 else {"markersize": 3.0, "linewidth": 0.8}
    for number, rows in enumerate(repeats):
        spaced = max(1, len(rows) // 8)
        label = title if number == 0 else None
        _line(axes, rows, column, label=label, markevery=spaced, **size, **look)


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


def _caption(trials: int, colored: int, named: int, chosen: int) -> str:
    """Of numbers of trials, and of answers."""
    parts = ["Each trial's mean training loss over an epoch, and its accuracy after it."]
    if colored > named:
        parts.append("Seeds and random draws of one probe share its colour.")
    if trials > colored:
        parts.append(f"{colored} of {trials} trials are in colour: those that were chosen")
        parts[-1] += f", for the best {named} of {chosen} answers." if chosen > named else "."
        parts.append(
            "Grey are the others; a line that ends early was pruned, one that leaves the loss axis diverged."
        )
    return " ".join(parts)

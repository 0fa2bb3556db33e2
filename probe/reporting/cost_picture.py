"""Accuracy against what a probe costs, with the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from probe.reporting.finished_runs import Result, best_of_each_probe, result_names
from probe.reporting.pareto import pareto_front
from probe.reporting.style import COLORS, GREY, Picture, legend_beside, log_axis, looks, new_figure, save

LEGEND_LINE = 0.22
"""Inches."""

AXES = ("trainable parameters (k: thousand, M: million)", "FLOPs per image, forward (M: million, G: 10⁹)")


def draw_costs(results: Sequence[Result], folder: Path, name: str) -> Picture | None:
    """Of answers on the same evaluation images; None where none was trained in steps."""
    compared = _with_most_images(results)
    trained = [result for result in compared if result.cost is not None]
    if not trained:
        return None
    closed = [result for result in compared if result.cost is None]
    names = set(result_names(trained, without=("blocks",)))
    entries = len(names) + len(best_of_each_probe(closed)) + 1
    figure = new_figure(9 + 0.08 * max(12, *map(len, names)), max(4.2, LEGEND_LINE * entries))
    left, right = figure.subplots(1, 2, sharey=True)
    for number, axes in enumerate((left, right)):
        _draw(axes, trained, number)
        axes.set_xlabel(AXES[number])
        for line, result in enumerate(best_of_each_probe(closed)):
            style = ("--", ":", "-.")[line % 3]
            color = COLORS[(line + 6) % len(COLORS)]
            axes.axhline(result.top1, color=color, linestyle=style, linewidth=1.2, label=result.probe)
    left.set_ylabel(f"top-1 on {trained[0].run.evaluation} (%)")
    legend_beside(right, len(trained) + len(closed))
    return save(figure, folder, name, _caption(results, compared, bool(closed)))


def _draw(axes: Axes, trained: Sequence[Result], number: int) -> None:
    unit = (1, 1e9)[number]
    costs = [unit * result.cost[number] for result in trained if result.cost is not None]
    points = [(cost, result.top1) for cost, result in zip(costs, trained, strict=True)]
    names = result_names(trained, without=("blocks",))
    best_first = sorted(zip(names, trained, strict=True), key=lambda pair: -pair[1].top1)
    series = list(dict.fromkeys(name for name, _ in best_first))  # the colours of the other pictures
    for own, look in zip(series, looks(len(series)), strict=True):
        chosen = [point for point, found in zip(points, names, strict=True) if found == own]
        axes.plot(*zip(*chosen, strict=True), linestyle="none", markersize=7, label=own, **look)
    front = [points[position] for position in pareto_front(points)]
    axes.step(
        *zip(*front, strict=True), where="post", color=GREY, linewidth=1.2, zorder=1, label="Pareto front"
    )
    axes.plot(
        *zip(*front, strict=True),
        linestyle="none",
        marker="o",
        markersize=13,
        markerfacecolor="none",
        markeredgecolor=GREY,
        zorder=1,
    )
    log_axis(axes.xaxis, costs, engineering=True)


def _with_most_images(results: Sequence[Result]) -> list[Result]:
    """Where parts of the training images were asked for, only the answers on most of them are compared."""
    whole = [r for r in results if r.answer["shots"] is None and r.answer["fraction"] is None]
    if whole:
        return whole
    for field in ("shots", "fraction"):
        counts = [r.answer[field] for r in results if r.answer[field] is not None]
        if counts:
            return [r for r in results if r.answer[field] == max(counts)]
    return list(results)


def _caption(results: Sequence[Result], compared: Sequence[Result], closed: bool) -> str:
    parts = [
        "Accuracy against trainable parameters (classifier included) and against the computation of "
        "one forward pass, both on logarithmic axes. Ringed points are on the Pareto front: no probe "
        "of this picture is both cheaper and better."
    ]
    if closed:
        parts.append("Lines across are classifiers in closed form, which train no parameters.")
    if len(compared) < len(results):
        parts.append("Answers from fewer training images are left out here; the low-shot picture has them.")
    return " ".join(parts)

"""Accuracy of every class, and the confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from probe.reporting.confusion import MATRIX_AT_MOST, ClassCounts
from probe.reporting.finished_runs import result_names
from probe.reporting.style import SHARES, Picture, legend_beside, looks, new_figure, save, short

NUMBERS_AT_MOST = 15
"""Classes of which the matrix has room for numbers."""

MATRICES_AT_MOST = 4

LABEL = 20
"""Characters of a name that stands beside a matrix."""


def draw_classes(counts: Sequence[ClassCounts], folder: Path, name: str) -> Picture:
    """Every class by name where there are few; otherwise all classes in order of their accuracy."""
    names = result_names([own.result for own in counts])
    if counts[0].num_classes > MATRIX_AT_MOST:
        return _draw_ranked(counts, names, folder, name)
    classes = counts[0].result.run.classes
    figure = new_figure(7.5, 1.4 + 0.34 * len(classes))
    axes = figure.subplots()
    for number, (own, title) in enumerate(zip(counts, names, strict=True)):
        apart = 0.7 * ((number + 0.5) / len(counts) - 0.5)  # equal accuracies stand below one another
        heights = np.arange(len(classes)) + apart
        look = looks(len(counts))[number]
        axes.plot(own.accuracies(), heights, linestyle="none", markersize=4.5, label=title, **look)
    for border in range(1, len(classes)):
        axes.axhline(border - 0.5, color="#DDDDDD", linewidth=0.6, zorder=0)
    axes.grid(False, axis="y")
    axes.set_yticks(range(len(classes)), list(map(short, classes)))
    axes.set(ylim=(len(classes) - 0.5, -0.5), xlabel=f"top-1 on {counts[0].result.run.evaluation} (%)")
    axes.set_ylabel("class")
    legend_beside(axes, len(counts))
    return save(figure, folder, name, "Accuracy on the evaluation images of each class.")


def _draw_ranked(counts: Sequence[ClassCounts], names: Sequence[str], folder: Path, name: str) -> Picture:
    figure = new_figure(7.5, 4.2)
    axes = figure.subplots()
    for own, title, look in zip(counts, names, looks(len(counts)), strict=True):
        heights = np.sort(own.accuracies()[own.images() > 0])
        spaced = max(1, len(heights) // 8)
        axes.plot(
            np.arange(1, len(heights) + 1), heights, label=title, markersize=5, markevery=spaced, **look
        )
    axes.set(
        xlabel="classes, each probe's worst first",
        ylabel=f"top-1 on {counts[0].result.run.evaluation} (%)",
    )
    legend_beside(axes, len(counts))
    return save(
        figure, folder, name, "Accuracy of every class, in each probe's own order from worst to best."
    )


def draw_confusions(counts: Sequence[ClassCounts], folder: Path, name: str) -> Picture:
    """Confusion matrices of few classes, at most `MATRICES_AT_MOST`, side by side."""
    shown = counts[:MATRICES_AT_MOST]
    names = result_names([own.result for own in shown])
    classes = shown[0].result.run.classes
    cell = 0.36 if len(classes) <= NUMBERS_AT_MOST else 0.24
    side = 1.1 + max(2.2, cell * len(classes)) + 0.075 * max(len(short(name, LABEL)) for name in classes)
    columns = min(2, len(shown))
    rows = math.ceil(len(shown) / columns)
    figure = new_figure(columns * side + 0.8, rows * side)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, own, title in zip(panels, shown, names, strict=False):
        _draw_matrix(axes, own, title)
    for axes in panels[len(shown) :]:
        axes.axis("off")
    _color_bar(figure, panels)
    caption = (
        "Rows: the images' classes; columns: what was predicted; colour: their share of the row in percent, "
        "on a square-root scale, so that few mistakes show too"
    )
    if len(classes) <= NUMBERS_AT_MOST:
        caption += "; the numbers are the same shares, and what rounds to 0 is left out"
    caption += "."
    if len(counts) > len(shown):
        caption += f" The best {len(shown)} of {len(counts)} probes are drawn."
    return save(figure, folder, name, caption)


def _draw_matrix(axes: Axes, counts: ClassCounts, title: str) -> None:
    images = counts.images()[:, None]
    shares = np.divide(100 * counts.matrix(), images, out=np.zeros(counts.matrix().shape), where=images > 0)
    classes = [short(name, LABEL) for name in counts.result.run.classes]
    axes.imshow(shares, cmap=SHARES, norm=PowerNorm(0.5, 0, 100))  # few mistakes show too
    if len(classes) <= NUMBERS_AT_MOST:
        for row, column in np.argwhere(shares >= 0.5):
            share = shares[row, column]
            color = "white" if share > 40 else "black"
            axes.text(column, row, f"{share:.0f}", ha="center", va="center", color=color, fontsize=8)
    turned = max(map(len, classes)) > 3
    axes.set_xticks(range(len(classes)), classes, rotation=90 if turned else 0, fontsize=8)
    axes.set_yticks(range(len(classes)), classes, fontsize=8)
    axes.grid(False)
    axes.set(title=title, xlabel="predicted class", ylabel="class")


def _color_bar(figure: Figure, panels: Sequence[Axes]) -> None:
    figure.colorbar(panels[0].images[0], ax=list(panels), shrink=0.6, label="share of the class (%)")

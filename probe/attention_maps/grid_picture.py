"""One picture of a probe's maps: a row for each image, a column for each query."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probe.attention_maps.overlay import overlay

MAPS_IN_A_LINE = 8
"""More go on below, under the same image."""

CELL = 1.25
"""Inches of a picture's longer side."""

LETTERS = 18, 15
"""To an inch: of what is written above a picture, and of the title."""


@dataclass(frozen=True)
class PictureRow:
    """An image as the backbone saw it, (H, W, 3) uint8, its maps (M, h, w), and what is written above it."""

    picture: np.ndarray
    maps: np.ndarray
    label: str


def save_grid_picture(path: Path, title: str, columns: Sequence[str], rows: Sequence[PictureRow]) -> None:
    """Draw `rows` with their maps, M of them headed by `columns`."""
    wide = min(MAPS_IN_A_LINE, len(columns))
    lines = -(-len(columns) // wide)
    height, width = rows[0].picture.shape[:2]
    cell = CELL * width / max(height, width), CELL * height / max(height, width)
    above = 0.14 * (1 + max(row.label.count("\n") for row in rows))
    figure = Figure(figsize=((1 + wide) * cell[0] + 0.4, len(rows) * lines * (cell[1] + above) + 0.4))
    letters = int(figure.get_figwidth() * LETTERS[1])
    figure.suptitle(textwrap.fill(title, letters), fontsize=9)
    axes = figure.subplots(len(rows) * lines, 1 + wide, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for number, row in enumerate(rows):
        for line in range(lines):
            _draw_line(axes[number * lines + line], row, columns, line, headed=lines > 1 or number == 0)
    figure.set_layout_engine("constrained", w_pad=0.01, h_pad=0.03, wspace=0.01, hspace=0.01)
    figure.savefig(path, dpi=160)


def _draw_line(
    axes: Sequence[Axes], row: PictureRow, columns: Sequence[str], line: int, *, headed: bool
) -> None:
    if line == 0:
        letters = int(CELL * LETTERS[0])
        _show(axes[0], row.picture, "\n".join(_cut(line, letters) for line in row.label.splitlines()))
    first = line * (len(axes) - 1)
    for axis, query in zip(axes[1:], range(first, len(columns)), strict=False):
        _show(axis, overlay(row.picture, row.maps[query]), columns[query] if headed else "")


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: letters - 1] + "…"


def _show(axis: Axes, picture: np.ndarray, title: str) -> None:
    # few pixels stay pixels: they are what the backbone saw
    axis.imshow(picture, interpolation="nearest" if picture.shape[0] < 64 else "antialiased")
    axis.set_title(title, fontsize=7, pad=2)

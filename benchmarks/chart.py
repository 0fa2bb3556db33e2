"""Bars of a benchmark's shares of its ceiling, for the README.

    python benchmarks/chart.py RESULT.json PICTURE.svg

draws what an earlier run has saved.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from measure import Row, Section

COLOURS = {"ours": "#1b7f5c", "other": "#9aa5b1"}
CEILING_COLOUR = "#c0392b"
BAR_INCHES, HEAD_INCHES, WIDTH_INCHES, PADDING_INCHES = 0.23, 0.9, 8.6, 0.1
LOGARITHMIC_FROM = 30
"""Shares that differ more than this many times are drawn on a logarithmic axis."""


def draw(sections: Sequence[Section], path: Path) -> None:
    """One panel for each section that others are in, fastest on top; the ceilings are dashed lines."""
    sections = [section for section in sections if any(row.role == "other" for row in section.rows)]
    heights = [HEAD_INCHES + BAR_INCHES * len(_bars(section)) for section in sections]
    layout = ConstrainedLayoutEngine(w_pad=PADDING_INCHES, h_pad=PADDING_INCHES)
    figure = Figure(figsize=(WIDTH_INCHES, sum(heights)), layout=layout, facecolor="white")
    panels = figure.subplots(len(sections), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, section in zip(panels, sections, strict=True):
        _panel(axes, section)
    with rc_context({"svg.hashsalt": "frozen-tokens"}):  # and no date: the same result gives the same file
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


def _bars(section: Section) -> list[Row]:
    return [row for row in section.rows if row.role != "ceiling"]


def _panel(axes: Axes, section: Section) -> None:
    bars = _bars(section)
    shares = [row.ceiling_share for row in bars]
    ceilings = [row for row in section.rows if row.role == "ceiling"]
    low, high = min(shares), max(*shares, *(row.ceiling_share for row in ceilings))
    if high > LOGARITHMIC_FROM * low:
        axes.set_xscale("log")
        axes.set_xlim(low / 2, high * 2)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    else:
        axes.set_xlim(0, high * 1.15)
    for place, row in enumerate(ceilings):
        axes.axvline(row.ceiling_share, color=CEILING_COLOUR, linestyle="--", linewidth=1, zorder=0)
        _write(axes, row.label, row.ceiling_share, len(bars) - 1 - place, side=-1, color=CEILING_COLOUR)
    axes.barh(range(len(bars)), shares, height=0.72, color=[COLOURS[row.role] for row in bars])
    for place, share in enumerate(shares):
        _write(axes, f"{share:.2g}" if share < 0.1 else f"{share:.2f}", share, place, side=1)
    axes.set_yticks(range(len(bars)), [row.label for row in bars], fontsize=8.5)
    for label, row in zip(axes.get_yticklabels(), bars, strict=True):
        label.set_fontweight("bold" if row.role == "ours" else "normal")
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_title(section.title, loc="left", fontsize=10, fontweight="bold")
    scale = " (logarithmic)" if axes.get_xscale() == "log" else ""
    meaning = f"images/s, as a share of: {section.ceiling}{scale}\n{section.note}".rstrip()
    axes.set_xlabel(meaning, fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _write(axes: Axes, text: str, x: float, y: float, *, side: int, color: str = "black") -> None:
    """Small text beside a point, right of it with side 1 and left with −1, over the lines behind it."""
    axes.annotate(
        text,
        (x, y),
        xytext=(5 * side, 0),
        textcoords="offset points",
        ha="left" if side > 0 else "right",
        va="center",
        fontsize=8,
        color=color,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
    )


def saved_sections(path: Path) -> list[Section]:
    """The sections of a saved run."""
    return [
        Section(**{**section, "rows": tuple(Row(**row) for row in section["rows"])})
        for section in json.loads(path.read_text())["sections"]
    ]


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    draw(saved_sections(Path(sys.argv[1])), Path(sys.argv[2]))

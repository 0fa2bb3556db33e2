"""Accuracy by the number of stored views, with what views on the fly give as a line.

    python benchmarks/view_chart.py RESULT.json PICTURE.svg

draws what an earlier run of bench_views.py has saved.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = {"rrc_flip": "#c0392b", "rrc_mild": "#1b7f5c"}
STYLES = {"random": ("-", "o"), "all": ("--", "s")}
INCHES = (8.6, 3.6)
NAMES = {"lp": "linear probe on [CLS]", "ep16": "efficient probing, 16 queries"}


@dataclass(frozen=True)
class ViewRow:
    """One way of training, and the accuracies that it gave, in percent."""

    augment: str | None
    policy: str
    """plain, random, all; or fresh, which stores no view."""
    views: int | None
    bytes_per_image: int | None
    top1: Mapping[str, Sequence[float]]
    """Probe → of each seed."""
    mean: Mapping[str, float]
    deviation: Mapping[str, float]

    @property
    def label(self) -> str:
        """What it is called."""
        if self.policy == "plain":
            return "1 view"
        what = "fresh in every epoch" if self.policy == "fresh" else f"{self.views} views, {self.policy}"
        return f"{self.augment}, {what}"


def draw_views(rows: Sequence[ViewRow], probes: Sequence[str], path: Path) -> None:
    """One panel for each probe: means of the seeds, with their standard deviations."""
    figure = Figure(figsize=INCHES, layout="constrained", facecolor="white")
    panels = figure.subplots(1, len(probes), squeeze=False)[0]
    for axes, probe in zip(panels, probes, strict=True):
        _panel(axes, rows, probe)
    panels[0].set_ylabel("top-1 on the test digits, %", fontsize=8.5)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    with rc_context({"svg.hashsalt": "frozen-tokens"}):  # and no date: the same result gives the same file
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


def _panel(axes: Axes, rows: Sequence[ViewRow], probe: str) -> None:
    (plain,) = (row for row in rows if row.policy == "plain")
    for augment, colour in COLOURS.items():
        own = [row for row in rows if row.augment == augment]
        for policy, (line, marker) in STYLES.items():
            points = [plain, *(row for row in own if row.policy == policy)]
            axes.errorbar(
                [row.views or 0 for row in points],
                [row.mean[probe] for row in points],
                [row.deviation[probe] for row in points],
                color=colour,
                linestyle=line,
                marker=marker,
                markersize=4,
                linewidth=1.4,
                capsize=2.5,
                label=f"{augment}, {'one drawn for each epoch' if policy == 'random' else 'all of them'}",
            )
        for row in own:
            if row.policy == "fresh":
                mean, deviation = row.mean[probe], row.deviation[probe]
                axes.axhline(mean, color=colour, linestyle=":", linewidth=1.4, label=f"{augment}, on the fly")
                axes.axhspan(mean - deviation, mean + deviation, color=colour, alpha=0.12, linewidth=0)
    counts = sorted({row.views for row in rows if row.views})
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(number) for number in counts])
    axes.minorticks_off()
    axes.set_title(NAMES.get(probe, probe), loc="left", fontsize=10, fontweight="bold")
    axes.set_xlabel("stored views of each training image", fontsize=8.5)
    axes.tick_params(labelsize=8)
    axes.grid(axis="y", color="#e3e6ea", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def main(result: Path, picture: Path) -> None:
    """Draw a saved run."""
    rows = [ViewRow(**row) for row in json.loads(result.read_text())["rows"]]
    draw_views(rows, list(rows[0].top1), picture)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))

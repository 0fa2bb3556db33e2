"""Each measure of a map against the accuracy that is lost without it, as in the EP paper's figure 4."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probe.attention_maps.measures import HeadMeasures

PANELS = {
    "entropy": "entropy / log N",
    "similarity": "mean similarity to the other maps",
    "highest_similarity": "highest similarity to another map",
    "mass": "share of the map on the object",
    "centroid": "centre of the map on the object",
    "peak": "peak of the map on the object",
}


def save_scatter(path: Path, found: Sequence[HeadMeasures]) -> bool:
    """One panel for each measure, one point for each query; whether there was something to draw."""
    shown = [head for head in found if head.maps[0].delta_top1 is not None]
    panels = [name for name in PANELS if any(getattr(head.maps[0], name) is not None for head in shown)]
    if not panels:
        return False
    wide = min(3, len(panels))
    high = -(-len(panels) // wide)
    figure = Figure(figsize=(3.4 * wide + 0.4, 3.0 * high + 0.5), layout="constrained")
    axes = figure.subplots(high, wide, squeeze=False, sharey=True)
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    for axis, name in zip(axes.flat, panels, strict=False):
        _draw(axis, name, shown)
    for row in axes:
        row[0].set_ylabel("top-1 lost when uniform (points)")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=6, fontsize=8, frameon=False)
    figure.savefig(path)
    return True


def _draw(axis: Axes, name: str, shown: Sequence[HeadMeasures]) -> None:
    x: list[float] = []
    y: list[float] = []
    for head in shown:
        points = [(getattr(m, name), m.delta_top1) for m in head.maps]
        own = [(a, b) for a, b in points if a is not None and b is not None]
        axis.scatter([a for a, _ in own], [b for _, b in own], s=14, alpha=0.75, label=head.trial)
        x += [a for a, _ in own]
        y += [b for _, b in own]
    axis.set_xlabel(PANELS[name])
    axis.grid(alpha=0.3)
    if len(x) > 2 and np.ptp(x) > 0 and np.ptp(y) > 0:
        axis.set_title(f"r = {np.corrcoef(x, y)[0, 1]:.2f}", fontsize=9)

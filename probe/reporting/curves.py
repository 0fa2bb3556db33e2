"""Accuracy against the block, and against the number of training images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probe.reporting.finished_runs import Result, result_names
from probe.reporting.style import Picture, legend_beside, log_axis, looks, new_figure, save


@dataclass(frozen=True)
class Line:
    """One probe's answers along an axis, ascending."""

    name: str
    places: list[float]
    results: list[Result]

    @property
    def heights(self) -> list[float]:
        """Top-1 in percent."""
        return [result.top1 for result in self.results]

    @property
    def deviations(self) -> list[float]:
        """Over seeds and draws; 0 where there was one."""
        return [result.deviation or 0.0 for result in self.results]


def block_lines(results: Sequence[Result]) -> list[Line]:
    """Of blocks that were probed alone, for each probe with two of them or more."""
    alone = [result for result in results if len(result.answer["blocks"]) == 1]
    return _lines(alone, "blocks", lambda result: result.answer["blocks"][0])


def image_lines(results: Sequence[Result], field: str) -> list[Line]:
    """Along `shots` or `fraction`, for each probe with two of them or more."""
    parts = [result for result in results if result.answer[field] is not None]
    return _lines(parts, field, lambda result: result.answer[field])


def _lines(results: Sequence[Result], axis: str, place: Callable[[Result], Any]) -> list[Line]:
    grouped: dict[str, list[Result]] = {}
    for result, name in zip(results, result_names(results, without=(axis, "setting")), strict=True):
        grouped.setdefault(name, []).append(result)
    lines = []
    for name, own in grouped.items():
        points = sorted(own, key=place)
        if len({place(result) for result in points}) > 1:
            lines.append(Line(name, [float(place(result)) for result in points], points))
    return lines


def draw_blocks(lines: Sequence[Line], folder: Path, name: str) -> Picture:
    """Top-1 against the block."""
    caption = "Accuracy of every block that was probed alone, counted from 0 at the input."
    return _draw(lines, "block", folder, name, caption, log=False)


def draw_images(lines: Sequence[Line], field: str, folder: Path, name: str) -> Picture:
    """Top-1 against the number of training images, on a logarithmic axis."""
    title = {
        "shots": "training images of each class",
        "fraction": "share of each class's training images",
    }[field]
    caption = "Accuracy against the number of training images."
    return _draw(lines, title, folder, name, caption, log=True)


def _draw(lines: Sequence[Line], title: str, folder: Path, name: str, caption: str, *, log: bool) -> Picture:
    figure = new_figure(7.5, 4.2)
    axes = figure.subplots()
    for line, look in zip(lines, looks(len(lines)), strict=True):
        spread = line.deviations if any(line.deviations) else None
        axes.errorbar(line.places, line.heights, spread, capsize=3, markersize=5, label=line.name, **look)
    places = sorted({place for line in lines for place in line.places})
    axes.set(xlabel=title, ylabel=f"top-1 on {lines[0].results[0].run.evaluation} (%)")
    if log:
        log_axis(axes.xaxis, places)
    if len(places) <= 24:
        axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.minorticks_off()
    legend_beside(axes, len(lines))
    if any(any(line.deviations) for line in lines):
        caption += " Bars are the standard deviation over seeds and random draws."
    return save(figure, folder, name, caption)

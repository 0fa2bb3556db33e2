"""Accuracy of every block, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from probe.selection import Answer


def save_layer_plot(path: Path, found: Sequence[Answer], split: str) -> bool:
    """Draw top-1 against the block, one line for each probe, where several blocks were probed alone.

    Answers that differ in tokens or training images have lines of their own. Whether there was something to
    draw.
    """
    lines: dict[str, list[Answer]] = {}
    for answer in found:
        if len(answer.blocks) == 1:
            lines.setdefault(_name(answer, found), []).append(answer)
    if max((len(line) for line in lines.values()), default=0) < 2:
        return False
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, line in lines.items():
        points = sorted(line, key=lambda answer: answer.blocks)
        deviations = [answer.top1_deviation or 0 for answer in points]
        blocks = [answer.blocks[0] for answer in points]
        axes.errorbar(
            blocks, [answer.top1 for answer in points], deviations, marker="o", capsize=3, label=name
        )
    axes.set(xlabel="block", ylabel=f"top-1 on {split} (%)", xticks=blocks)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)
    return True


def _name(answer: Answer, found: Sequence[Answer]) -> str:
    """The probe, with what else tells its lines apart."""
    parts = [answer.probe]
    for field in ("tokens", "shots", "fraction"):
        value = getattr(answer, field)
        if value is not None and len({getattr(other, field) for other in found}) > 1:
            parts.append(f"{field} {value}")
    return ", ".join(parts)

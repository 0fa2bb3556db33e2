"""Which points are worth their cost."""

from __future__ import annotations

from collections.abc import Sequence


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Positions of the (cost, gain) points that no other beats, by ascending cost.

    One point beats another if it costs no more and gains no less, and differs in one of them.
    """
    order = sorted(range(len(points)), key=lambda number: (points[number][0], -points[number][1]))
    front: list[int] = []
    for number in order:
        if not front or points[number][1] > points[front[-1]][1] or points[number] == points[front[-1]]:
            front.append(number)
    return front

"""The points that are worth their cost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from probe.reporting.pareto import pareto_front

Point = tuple[float, float]


def _beats(one: Point, other: Point) -> bool:
    return one[0] <= other[0] and one[1] >= other[1] and one != other


@given(st.lists(st.tuples(st.integers(1, 6).map(float), st.integers(0, 6).map(float)), max_size=12))
def test_the_front_is_every_point_that_no_other_beats(points: list[Point]) -> None:
    expected = {i for i, own in enumerate(points) if not any(_beats(other, own) for other in points)}
    front = pareto_front(points)
    assert set(front) == expected
    assert len(front) == len(expected)
    assert [points[i][0] for i in front] == sorted(points[i][0] for i in front)

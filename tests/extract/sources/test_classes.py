from __future__ import annotations

import pytest

from extract.sources.classes import class_numbers, sorted_classes
from extract.sources.compact_names import CompactNames


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["b", "a", "b"], ("a", "b")),
        ([10, 9, 10], ("9", "10")),
        (["10", "9", "1"], ("1", "9", "10")),
        (["10", "9", "x"], ("10", "9", "x")),
        (["01", "1", "2"], ("01", "1", "2")),
        (["-1", "3"], ("-1", "3")),
    ],
)
def test_whole_numbers_are_ordered_as_such(labels: list[object], classes: tuple[str, ...]) -> None:
    assert sorted_classes(labels) == classes


def test_labels_become_positions() -> None:
    assert class_numbers([10, 9, 10], ("9", "10")).tolist() == [1, 0, 1]


def test_names_are_given_back() -> None:
    names = ["a", "", "żółw", "\udcff.png"]
    kept = CompactNames(names)
    assert [kept[place] for place in range(len(kept))] == names

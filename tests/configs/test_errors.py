"""Messages for names that do not exist."""

from __future__ import annotations

from configs import unknown_name


def test_the_nearest_names_come_first() -> None:
    error = unknown_name("fruit", "appel", ["cherry", "grapple", "apple"])
    assert str(error) == "unknown fruit 'appel'; did you mean apple or grapple?"


def test_no_more_than_three_names_are_suggested() -> None:
    error = unknown_name("probe", "ep3", ["ep30", "ep31", "ep32", "ep33", "ep34"])
    assert str(error).count(" or ") == 2


def test_without_a_near_name_all_are_listed_in_order() -> None:
    error = unknown_name("fruit", "xyz", ["pear", "apple"])
    assert str(error) == "unknown fruit 'xyz'; known: apple, pear"

"""From the labels that files hold to class numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np


def sorted_classes(labels: Iterable[object]) -> tuple[str, ...]:
    """The different labels: in the order of numbers where all are whole numbers, of text otherwise."""
    found = {str(label) for label in labels}
    numbers = all(label.removeprefix("-").isdecimal() for label in found)
    return tuple(sorted(found, key=lambda label: (int(label) if numbers else 0, label)))


def class_numbers(labels: Iterable[object], classes: Iterable[str]) -> np.ndarray:
    """(n,) int64 position of each label in `classes`."""
    number: Mapping[str, int] = {name: position for position, name in enumerate(classes)}
    return np.fromiter((number[str(label)] for label in labels), dtype=np.int64)

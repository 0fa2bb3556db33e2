"""Stratified choices of images: held out, so many shots, a fraction."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.stratified import fraction, held_out, shots

examples = settings(max_examples=100, deadline=None)
label_lists = st.lists(st.integers(-1, 4), max_size=60).map(lambda labels: np.array(labels, np.int64))
seeds = st.integers(0, 2**32 - 1)
percents = st.integers(1, 100)


@given(labels=label_lists, percent=percents, seed=seeds)
@examples
def test_a_class_of_two_images_or_more_is_on_both_sides(labels: np.ndarray, percent: int, seed: int) -> None:
    mask = held_out(labels, percent / 100, seed)
    assert not mask[labels < 0].any()
    for label in set(labels[labels >= 0].tolist()):
        held, count = mask[labels == label].sum(), (labels == label).sum()
        assert held == math.ceil(Fraction(percent, 100) * (int(count) - 1))
        assert held >= 1 or count == 1


def test_a_tenth_is_a_tenth_of_each_class() -> None:
    labels = np.repeat(np.arange(10), 1300)
    assert np.bincount(labels[held_out(labels)]).tolist() == [130] * 10


def test_what_is_held_out_never_changes() -> None:
    labels = np.repeat(np.arange(3), 5)
    assert np.flatnonzero(held_out(labels, 0.5, seed=0)).tolist() == [1, 2, 6, 9, 11, 14]
    assert np.flatnonzero(held_out(labels, 0.5, seed=7)).tolist() == [0, 3, 5, 9, 10, 12]


def test_shots_never_change() -> None:
    labels = np.repeat(np.arange(3), 5)
    assert shots(labels, 2, seed=0, draw=0).tolist() == [2, 4, 5, 7, 11, 12]
    assert shots(labels, 2, seed=0, draw=1).tolist() == [1, 3, 6, 7, 10, 14]
    assert fraction(labels, 0.4, seed=0, draw=1).tolist() == [1, 3, 6, 7, 10, 14]


@given(labels=label_lists, per_class=st.integers(0, 8), seed=seeds, draw=st.integers(0, 9))
@examples
def test_shots_are_so_many_of_each_class_or_all_there_are(
    labels: np.ndarray, per_class: int, seed: int, draw: int
) -> None:
    positions = shots(labels, per_class, seed, draw)
    assert (np.diff(positions) > 0).all()
    assert (labels[positions] >= 0).all()
    drawn = np.bincount(labels[positions], minlength=5)
    assert (drawn == np.minimum(np.bincount(labels[labels >= 0], minlength=5), per_class)).all()


@given(labels=label_lists, percent=percents, seed=seeds, draw=st.integers(0, 9))
@examples
def test_a_fraction_is_of_each_class_rounded_up(
    labels: np.ndarray, percent: int, seed: int, draw: int
) -> None:
    positions = fraction(labels, percent / 100, seed, draw)
    assert (np.diff(positions) > 0).all()
    assert (labels[positions] >= 0).all()
    drawn = np.bincount(labels[positions], minlength=5).tolist()
    counts = np.bincount(labels[labels >= 0], minlength=5).tolist()
    assert drawn == [math.ceil(Fraction(percent, 100) * count) for count in counts]


@given(labels=label_lists, seed=seeds)
@examples
def test_fewer_images_of_a_draw_are_among_more(labels: np.ndarray, seed: int) -> None:
    few, some, many = (set(shots(labels, per_class, seed).tolist()) for per_class in (1, 2, 5))
    assert few <= some <= many
    small, large = (set(fraction(labels, share, seed).tolist()) for share in (0.1, 0.5))
    assert small <= large


@pytest.mark.parametrize("other", [{"seed": 1}, {"draw": 1}])
def test_another_seed_or_draw_gives_other_images(other: dict[str, int]) -> None:
    labels = np.repeat(np.arange(10), 50)
    assert shots(labels, 5).tolist() != shots(labels, 5, **other).tolist()
    assert fraction(labels, 0.1).tolist() != fraction(labels, 0.1, **other).tolist()


def test_another_seed_holds_out_other_images() -> None:
    labels = np.repeat(np.arange(10), 50)
    assert (held_out(labels, seed=0) != held_out(labels, seed=1)).any()


def test_low_shot_images_are_not_the_ones_held_out() -> None:
    labels = np.repeat(np.arange(10), 50)
    assert set(shots(labels, 5).tolist()) != set(np.flatnonzero(held_out(labels)).tolist())

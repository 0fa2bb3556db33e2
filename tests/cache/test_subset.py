"""Which records a subset keeps, and what it is called."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache import SplitManifest, SplitReader
from cache.subset import (
    SubsetChoice,
    choose_subset,
    first_of_each_class,
    read_class_list,
    read_sample_list,
    renumber,
)
from configs import UserError

examples = settings(max_examples=100, deadline=None)
label_lists = st.lists(st.integers(-1, 4), min_size=1, max_size=60).map(lambda x: np.array(x, np.int64))
fractions = st.integers(1, 100).map(lambda percent: percent / 100)


@given(labels=label_lists, fraction=fractions)
@examples
def test_fraction_keeps_the_first_records_of_each_class_rounded_up(
    labels: np.ndarray, fraction: float
) -> None:
    chosen = first_of_each_class(labels, labels >= 0, fraction)
    assert not chosen[labels < 0].any()
    for label in set(labels[labels >= 0].tolist()):
        places = np.flatnonzero(labels == label)
        kept = math.ceil(Fraction(round(fraction * 100), 100) * len(places))
        assert np.flatnonzero(chosen & (labels == label)).tolist() == places[:kept].tolist()


@given(labels=label_lists, smaller=fractions, larger=fractions)
@examples
def test_a_smaller_fraction_is_inside_a_larger_one(labels: np.ndarray, smaller: float, larger: float) -> None:
    smaller, larger = sorted((smaller, larger))
    inner, outer = (first_of_each_class(labels, labels >= 0, fraction) for fraction in (smaller, larger))
    assert not (inner & ~outer).any()


def test_a_tenth_of_thirty_is_three() -> None:
    labels = np.zeros(30, np.int64)  # 0.1 * 30 is 3.0000000000000004
    assert first_of_each_class(labels, labels >= 0, 0.1).sum() == 3


@given(
    labels=label_lists,
    wanted=st.sets(st.sampled_from(["ant", "bee", "cat", "dog", "elk"]), min_size=1),
)
@examples
def test_labels_name_the_same_class_as_before(labels: np.ndarray, wanted: set[str]) -> None:
    classes = ("ant", "bee", "cat", "dog", "elk")
    new, chosen = renumber(labels, classes, wanted)
    assert chosen == tuple(name for name in classes if name in wanted)
    for before, after in zip(labels.tolist(), new.tolist(), strict=True):
        name = classes[before] if before >= 0 else None
        assert (chosen[after] if after >= 0 else None) == (name if name in wanted else None)


def test_classes_of_one_name_are_kept_together() -> None:
    new, chosen = renumber(np.array([0, 1, 2]), ("crane", "cat", "crane"), ("crane",))
    assert (new.tolist(), chosen) == ([0, -1, 1], ("crane", "crane"))


@pytest.fixture
def split(
    tmp_path: Path,
    split_manifest: Callable[..., SplitManifest],
    split_values: Callable[..., dict[str, np.ndarray]],
    write_split: Callable[..., Path],
) -> SplitReader:
    """Ten records of cat and dog, sample_id 100 to 109 in record order; record 4 is left out."""
    manifest = split_manifest().model_copy(update={"order_seed": 0})
    values = split_values(manifest)
    values["labels"][:] = [0, 1, 0, 1, -1, 0, 1, 0, 1, 0]
    values["sample_id"][:] = np.arange(100, 110)
    return SplitReader(write_split(tmp_path, manifest, values))


@pytest.fixture
def choose(split: SplitReader) -> Callable[..., list[int]]:
    """Positions of the records that a choice keeps."""
    return lambda **choice: choose_subset(split, SubsetChoice(**choice)).records.tolist()


def test_everything_keeps_records_that_were_left_out(
    split: SplitReader, choose: Callable[..., list[int]]
) -> None:
    assert choose() == list(range(10))
    assert choose_subset(split, SubsetChoice()).order_seed == 0


def test_any_choice_drops_records_that_were_left_out(choose: Callable[..., list[int]]) -> None:
    assert choose(fraction=1.0) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert choose(classes=("dog", "cat")) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert choose(samples=np.array([104, 105])) == [5]


def test_choices_combine_classes_and_samples_before_the_fraction(choose: Callable[..., list[int]]) -> None:
    assert choose(classes=("cat",), fraction=0.5) == [0, 2, 5]
    samples = np.array([109, 107, 103, 105])
    assert choose(samples=samples) == [3, 5, 7, 9]
    assert choose(classes=("cat",), samples=samples, fraction=0.5) == [5, 7]


def test_a_subset_says_how_it_was_drawn(split: SplitReader) -> None:
    choice = SubsetChoice(("dog", "cat"), np.array([109, 100]), 0.25)
    subset = choose_subset(split, choice)
    assert subset.order_seed is None  # sample_id is no longer the beginning of a permutation
    assert subset.order.startswith("permuted; classes cat, dog; 2 listed samples, crc32c ")
    assert subset.order.endswith("; fraction 0.25 of each class")


def test_the_order_of_a_list_of_samples_does_not_matter(split: SplitReader) -> None:
    first, second = (
        choose_subset(split, SubsetChoice(samples=np.array(ids))).order for ids in ([109, 100], [100, 109])
    )
    assert first == second
    assert first != choose_subset(split, SubsetChoice(samples=np.array([101, 109]))).order


def test_long_lists_of_classes_are_told_apart_by_a_checksum(
    tmp_path: Path, split_manifest: Callable[..., SplitManifest], write_split: Callable[..., Path]
) -> None:
    classes = tuple(f"class{number}" for number in range(20))
    split = SplitReader(write_split(tmp_path, split_manifest().model_copy(update={"classes": classes})))
    orders = [
        choose_subset(split, SubsetChoice(classes=chosen)).order for chosen in (classes[:15], classes[:16])
    ]
    assert [order[:29] for order in orders] == [
        "permuted; 15 classes, crc32c ",
        "permuted; 16 classes, crc32c ",
    ]
    assert len(set(orders)) == 2


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"classes": ("cat", "dgo")}, "unknown class 'dgo'; did you mean dog"),
        ({"samples": np.array([101, 7, 8])}, r"digits/train holds no sample 7 \(2 such in the list\)"),
        ({"samples": np.array([104])}, "no readable record of that choice"),
    ],
)
def test_choices_that_cannot_be_met_are_refused(
    choose: Callable[..., list[int]], choice: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        choose(**choice)


def test_lists_are_read_without_their_empty_lines(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("7\n\n 3 \n")
    assert read_sample_list(path).tolist() == [7, 3]
    path.write_text("tench, Tinca tinca\n\ngoldfish\n")
    assert read_class_list(path) == ("tench, Tinca tinca", "goldfish")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"7\n3\n7\n", "line 3: sample 7 was listed in line 1 already"),
        (b"7\ncat\n", r"line 2: 'cat' is no sample_id \(an integer\)"),
        (b"-1\n", "line 1: '-1' is no sample_id"),
        (b"9999999999999999999999\n", "is no sample_id"),
        (b"\n", "lists no sample"),
        (b"\xff\xfe", "is no text file"),
    ],
)
def test_lists_of_samples_that_are_none_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "list").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_sample_list(tmp_path / "list")


def test_lists_that_are_missing_or_empty_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*: No such file"):
        read_class_list(tmp_path / "list")
    (tmp_path / "list").write_text("\n")
    with pytest.raises(UserError, match="names no class"):
        read_class_list(tmp_path / "list")

"""Streaming: what waits fits its memory, and batches are mixed nearly as well as over the whole split."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.batching import Batching
from cache.epoch_order import reading_order, windowed_order
from cache.permutation import seeded_permutation
from cache.stream_plan import StreamPlan, stream_layout, streamed_batches
from configs import UserError

BYTES = 1000


class Records:
    """Stands for a data set: which records it has, in shards of `shard_size`."""

    def __init__(self, records: np.ndarray, shard_size: int) -> None:
        self.records = records
        self.shards = records // shard_size

    def __len__(self) -> int:
        return len(self.records)


def plans(seed: int = 0) -> st.SearchStrategy[tuple[Records, StreamPlan, int]]:
    """Data sets with gaps, and plans with little or much memory, of one of several processes."""

    @st.composite
    def drawn(draw: st.DrawFn) -> tuple[Records, StreamPlan, int]:
        present = draw(st.lists(st.booleans(), min_size=1, max_size=400))
        present[draw(st.integers(0, len(present) - 1))] = True
        dataset = Records(np.flatnonzero(present), draw(st.integers(1, 50)))
        batch_size = draw(st.integers(1, len(dataset)))
        processes = draw(st.integers(1, 4))
        batching = Batching(batch_size, draw(st.booleans()), draw(st.integers(0, processes - 1)), processes)
        least = 6 * batching.own_batch_size + 8
        layout = stream_layout(BYTES, batching.own_batch_size, BYTES * (least + draw(st.integers(0, 300))))
        plan = streamed_batches(
            dataset,  # type: ignore[arg-type]
            np.arange(len(dataset)),
            batching,
            layout,
            shuffle=draw(st.booleans()),
            seed=draw(st.integers(0, 2**32)),
            epoch=draw(st.integers(0, 100)),
            first=draw(st.integers(0, batching.count(len(dataset)))),
        )
        return dataset, plan, layout.slots

    return drawn()


@given(plans())
@settings(deadline=None)
def test_no_more_records_wait_than_there_are_slots(drawn: tuple[Records, StreamPlan, int]) -> None:
    _, plan, slots = drawn
    waiting = most = read = 0
    for items, needed in zip(plan.batches, plan.runs_before, strict=True):
        for run in plan.runs[read:needed]:
            waiting += run.stop - run.start
        read = max(read, needed)
        most = max(most, waiting)
        waiting -= len(items)
    assert most <= plan.slots <= slots


@given(plans())
@settings(deadline=None)
def test_a_batch_is_read_before_it_is_given(drawn: tuple[Records, StreamPlan, int]) -> None:
    _, plan, _ = drawn
    for items, needed in zip(plan.batches, plan.runs_before, strict=True):
        read = {item for run in plan.runs[:needed] for item in plan.reading[run].tolist()}
        assert set(items.tolist()) <= read


@given(plans())
@settings(deadline=None)
def test_what_is_read_is_what_is_given_each_once(drawn: tuple[Records, StreamPlan, int]) -> None:
    _, plan, _ = drawn
    given_items = [item for items in plan.batches for item in items.tolist()]
    read = [item for run in plan.runs for item in plan.reading[run].tolist()]
    assert sorted(given_items) == sorted(read)
    assert len(set(read)) == len(read)


@given(plans())
@settings(deadline=None)
def test_a_read_takes_consecutive_records_of_one_shard(drawn: tuple[Records, StreamPlan, int]) -> None:
    dataset, plan, _ = drawn
    for run in plan.runs:
        items = plan.reading[run]
        assert (np.diff(dataset.records[items]) == 1).all()
        assert len(set(dataset.shards[items].tolist())) == 1


def test_shards_are_read_one_after_another_in_an_order_of_the_epoch() -> None:
    shards = np.repeat([0, 1, 3, 4], 5)
    orders = [reading_order(shards, shuffle=True, seed=0, epoch=epoch) for epoch in range(4)]
    for order in orders:
        assert [len(set(group)) for group in np.split(shards[order], 4)] == [1] * 4
    assert len({tuple(order) for order in orders}) > 1


def test_a_record_moves_by_less_than_the_window() -> None:
    reading = np.arange(10_000)
    order = windowed_order(reading, 500, seed=0, epoch=0)
    assert np.abs(order - reading).max() < 500
    assert np.abs(order - reading).mean() > 100


def test_a_window_of_none_keeps_the_order() -> None:
    reading = np.arange(50)[::-1]
    np.testing.assert_array_equal(windowed_order(reading, 0, seed=0, epoch=0), reading)


def test_memory_is_divided_without_rest_beyond_a_record() -> None:
    layout = stream_layout(BYTES, 10, 200 * BYTES)
    assert layout.slots + 4 * 10 == 200


def test_one_batch_of_everything_can_be_streamed_with_enough_memory_only() -> None:
    with pytest.raises(UserError, match="too few to stream batches of 100 records"):
        stream_layout(BYTES, 100, 607 * BYTES)
    assert stream_layout(BYTES, 100, 608 * BYTES).read_records >= 1


# the shuffle's quality, on a split of 50,000 records of 100 classes

RECORDS, CLASSES, BATCH, SHARD = 50_000, 100, 500, 1000


def _batches(labels: np.ndarray, slots: int, epoch: int = 0) -> Iterator[np.ndarray]:
    dataset = Records(np.arange(RECORDS), SHARD)
    layout = stream_layout(BYTES, BATCH, BYTES * slots)
    plan = streamed_batches(
        dataset,  # type: ignore[arg-type]
        np.arange(len(dataset)),
        Batching(BATCH),
        layout,
        shuffle=True,
        seed=0,
        epoch=epoch,
    )
    return (items for items in plan.batches)


def _chi_square(labels: np.ndarray, batches: Iterator[np.ndarray]) -> float:
    """Mean over batches of Σ (n_c − e)² / e, which is about C − 1 for batches drawn at random."""
    expected = BATCH / CLASSES
    counts = np.array([np.bincount(labels[items], minlength=CLASSES) for items in batches])
    return float((((counts - expected) ** 2) / expected).sum(axis=1).mean())


@pytest.mark.parametrize("slots", [4_000, 8_000, 16_000])
def test_with_permuted_records_classes_are_mixed_as_by_a_global_shuffle(slots: int) -> None:
    labels = seeded_permutation(RECORDS, 7) % CLASSES
    permutation = np.split(seeded_permutation(RECORDS, 0), RECORDS // BATCH)
    windowed, overall = _chi_square(labels, _batches(labels, slots)), _chi_square(labels, iter(permutation))
    assert abs(windowed - overall) < 0.05 * overall  # a hundred batches: 1.4 % standard deviation each


def test_with_records_in_order_of_their_class_the_window_decides() -> None:
    """What the permuted record order is for."""
    labels = np.arange(RECORDS) * CLASSES // RECORDS
    narrow, wide = (_chi_square(labels, _batches(labels, slots)) for slots in (4_000, 40_000))
    assert narrow > 5 * CLASSES
    assert wide < narrow / 3


def test_two_records_of_one_batch_are_seldom_together_again_in_the_next_epoch() -> None:
    """At random a pair meets again with probability 499 / 49,999; in a window more often, not always."""
    labels = np.zeros(RECORDS, dtype=np.int64)
    batch_of = np.empty(RECORDS, dtype=np.int64)
    for number, items in enumerate(_batches(labels, 8_000, epoch=1)):
        batch_of[items] = number
    pairs = met = 0
    for items in _batches(labels, 8_000):
        again = np.bincount(batch_of[items])
        met += int((again * (again - 1)).sum())
        pairs += len(items) * (len(items) - 1)
    at_random = (BATCH - 1) / (RECORDS - 1)
    assert at_random < met / pairs < 10 * at_random

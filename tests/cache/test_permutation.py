from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cache import seeded_permutation


@settings(deadline=None)
@given(samples=st.integers(0, 300), seed=st.integers(0, 2**63))
def test_order_is_a_permutation(samples: int, seed: int) -> None:
    assert sorted(seeded_permutation(samples, seed).tolist()) == list(range(samples))


def test_order_never_changes() -> None:
    assert seeded_permutation(12, seed=0).tolist() == [0, 2, 11, 9, 1, 8, 5, 4, 3, 10, 6, 7]
    assert seeded_permutation(12, seed=7).tolist() == [8, 4, 1, 6, 3, 2, 11, 7, 5, 9, 10, 0]


def test_order_is_int64() -> None:
    assert seeded_permutation(5, seed=0).dtype == np.int64


def test_another_seed_gives_another_order() -> None:
    assert seeded_permutation(100, seed=0).tolist() != seeded_permutation(100, seed=1).tolist()


def test_runs_of_records_mix_the_classes_of_a_sorted_source() -> None:
    labels = np.repeat(np.arange(10), 100)[seeded_permutation(1000, seed=0)]
    for shard in labels.reshape(10, 100):
        assert set(shard) == set(range(10))

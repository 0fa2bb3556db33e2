"""Keys that rank as (similarity, row) does."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.neighbours.ranking_key import ranking_key, row_of, similarity_of

similarities = st.floats(-1.5, 1.5, width=32) | st.sampled_from([0.0, -0.0, -float("inf")])
pairs = st.tuples(similarities, st.integers(0, 2**32 - 1))


def _key(similarity: float, row: int) -> torch.Tensor:
    return ranking_key(torch.tensor(similarity), torch.tensor(row))


@given(pair=pairs)
@settings(max_examples=200, deadline=None)
def test_a_key_holds_similarity_and_row(pair: tuple[float, int]) -> None:
    assert (float(similarity_of(_key(*pair))), int(row_of(_key(*pair)))) == pair


@given(one=pairs, other=pairs)
@settings(max_examples=200, deadline=None)
def test_the_higher_similarity_then_the_lower_row_has_the_larger_key(
    one: tuple[float, int], other: tuple[float, int]
) -> None:
    nearer = (one[0], -one[1]) > (other[0], -other[1])
    assert bool(_key(*one) > _key(*other)) == nearer

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.grid import pool_grid, pooled_grid
from configs import UserError


@given(
    coarse=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    factor=st.integers(2, 3),
    lead=st.lists(st.integers(1, 2), max_size=2),
)
@settings(max_examples=50, deadline=None)
def test_each_token_is_the_mean_of_its_window(coarse: list[int], factor: int, lead: list[int]) -> None:
    grid = tuple(size * factor for size in coarse)
    values = np.random.default_rng(0).standard_normal((*lead, *grid, 5)).astype(np.float32)
    tokens = torch.from_numpy(values.reshape(*lead, -1, 5))
    pooled = pool_grid(tokens, grid, factor).numpy()
    expected = np.empty((*lead, *coarse, 5), np.float32)
    for place in np.ndindex(*coarse):
        window = tuple(slice(at * factor, (at + 1) * factor) for at in place)
        inside = values[(..., *window, slice(None))]
        expected[(..., *place, slice(None))] = inside.mean(axis=tuple(range(len(lead), inside.ndim - 1)))
    np.testing.assert_allclose(pooled, expected.reshape(*lead, -1, 5), rtol=1e-5, atol=1e-6)


def test_axes_of_one_token_stay() -> None:
    assert pooled_grid((1, 6), 3) == (1, 2)
    tokens = torch.arange(6.0).reshape(6, 1)
    assert pool_grid(tokens, (1, 6), 3).flatten().tolist() == [1.0, 4.0]


@pytest.mark.parametrize("grid", [(7, 7), (8, 7), (4, 8, 9), (1, 1)])
def test_grid_that_windows_do_not_cover_is_named(grid: tuple[int, ...]) -> None:
    shown = "×".join(map(str, grid))
    with pytest.raises(UserError, match=rf"--pool 2: windows of 2 do not divide the token grid {shown}$"):
        pooled_grid(grid, 2)

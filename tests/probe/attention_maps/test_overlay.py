"""Maps on pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from probe.attention_maps.grid_picture import PictureRow, save_grid_picture
from probe.attention_maps.overlay import overlay


def _grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 128, dtype=np.uint8)


@pytest.mark.parametrize(("grid", "size"), [((2, 3), (40, 60)), ((7, 7), (32, 32)), ((1, 4), (30, 50))])
def test_an_overlay_is_as_large_as_its_picture(grid: tuple[int, int], size: tuple[int, int]) -> None:
    found = overlay(_grey(*size), np.random.default_rng(0).random(grid))
    assert (found.shape, found.dtype) == ((*size, 3), np.uint8)


def test_the_brightest_place_is_the_token_with_the_most_weight() -> None:
    weights = np.full((2, 4), 0.02)
    weights[1, 2] = 0.86
    picture = _grey(40, 80)
    changed = np.abs(overlay(picture, weights).astype(int) - picture).sum(axis=2)
    y, x = np.unravel_index(np.argmax(changed), changed.shape)
    assert (y // 20, x // 20) == (1, 2)


def test_where_there_is_no_weight_the_picture_is_seen_in_grey() -> None:
    weights = np.zeros((1, 4))
    weights[0, 0] = 1
    picture = _grey(20, 80)
    picture[..., 0] = 200
    found = overlay(picture, weights)
    np.testing.assert_array_equal(found[:, 40:], np.full((20, 40, 3), 152, np.uint8))


def test_a_uniform_map_is_paler_than_a_peak() -> None:
    picture, peak = _grey(8, 8), np.zeros((2, 2))
    peak[0, 0] = 1
    change = [np.abs(overlay(picture, w).astype(int) - 128).max() for w in (np.full((2, 2), 0.25), peak)]
    assert 0 < change[0] < change[1]


@pytest.mark.parametrize("queries", [1, 3, 11])
def test_a_grid_picture_has_room_for_every_map(tmp_path: Path, queries: int) -> None:
    rows = [PictureRow(_grey(20, 30), np.random.default_rng(0).random((queries, 2, 3)), "cat\n→ dog")] * 2
    save_grid_picture(tmp_path / "grid.png", "title", [f"query {n}" for n in range(queries)], rows)
    with Image.open(tmp_path / "grid.png") as picture:
        lines = -(-queries // 8)
        assert picture.height > 2 * lines * 100
        assert picture.width > 150 * (1 + min(8, queries))

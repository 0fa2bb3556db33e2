"""Small tiles, so that few images make many, and features whose similarities are exact."""

from __future__ import annotations

import pytest
import torch
from hypothesis import strategies as st

from probe.neighbours import similarity_tiles


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of 4 queries and 5 rows of the gallery."""
    monkeypatch.setattr(similarity_tiles, "QUERIES", 4)
    monkeypatch.setattr(similarity_tiles, "ROWS", 5)
    monkeypatch.setattr(similarity_tiles, "TILE_BYTES", 1440)


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The host."""
    return torch.device("cpu")


@pytest.fixture(scope="session")
def exact_features() -> st.SearchStrategy[torch.Tensor]:
    """Features (n, 4) of ±1, of length 2: similarities are multiples of 1/4, and many are equal."""
    row = st.lists(st.sampled_from([-1.0, 1.0]), min_size=4, max_size=4)
    return st.lists(row, min_size=1, max_size=14).map(torch.tensor)

"""The k nearest rows, against sorting all of them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from configs import UserError
from probe.neighbours import Neighbours, nearest
from probe.neighbours.similarity_tiles import Comparison

ENOUGH = 2**30
examples = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _joined(found: list[Neighbours]) -> tuple[list[list[float]], list[list[int]]]:
    similarity = torch.cat([block.similarity for block in found])
    return similarity.tolist(), torch.cat([block.row for block in found]).tolist()


def _least_memory(comparison: Comparison, k: int) -> int:
    """The budget of one tile of queries."""
    low, high = 0, ENOUGH
    while low + 1 < high:
        middle = (low + high) // 2
        try:
            next(nearest(Comparison(comparison.queries, comparison.gallery, middle, comparison.device), k))
            high = middle
        except UserError:
            low = middle
    return high


@given(data=st.data())
@examples
def test_neighbours_are_the_first_of_all_rows_sorted(
    data: st.DataObject,
    exact_features: st.SearchStrategy[torch.Tensor],
    device: torch.device,
    small_tiles: None,
) -> None:
    queries, gallery = data.draw(exact_features), data.draw(exact_features)
    k = data.draw(st.integers(1, len(gallery)))
    similarity, rows = _joined(list(nearest(Comparison(queries, gallery, ENOUGH, device), k)))
    everything = (queries @ gallery.T / 4).tolist()
    expected = [sorted(range(len(gallery)), key=lambda row: (-found[row], row))[:k] for found in everything]
    assert rows == expected
    assert similarity == [
        [found[row] for row in chosen] for found, chosen in zip(everything, expected, strict=True)
    ]


@pytest.mark.usefixtures("small_tiles")
def test_results_do_not_depend_on_the_memory(device: torch.device) -> None:
    drawn = torch.Generator().manual_seed(0)
    queries, gallery = torch.randn(31, 7, generator=drawn), torch.randn(43, 7, generator=drawn)
    one_block = Comparison(queries, gallery, ENOUGH, device)
    many = Comparison(queries, gallery, _least_memory(one_block, 6), device)
    few, more = list(nearest(one_block, 6)), list(nearest(many, 6))
    assert (len(few), len(more)) == (1, 8)
    assert _joined(few) == _joined(more)


def test_whole_tiles_give_what_sorting_gives(device: torch.device) -> None:
    drawn = torch.Generator().manual_seed(0)
    queries, gallery = torch.randn(300, 16, generator=drawn), torch.randn(4500, 16, generator=drawn)
    similarity, rows = _joined(list(nearest(Comparison(queries, gallery, ENOUGH, device), 50)))
    a, b = (x.double() / x.double().norm(dim=1, keepdim=True) for x in (queries, gallery))
    expected = (a @ b.T).sort(dim=1, descending=True)
    torch.testing.assert_close(torch.tensor(similarity).double(), expected.values[:, :50], atol=1e-6, rtol=0)
    assert rows == expected.indices[:, :50].tolist()


@pytest.mark.usefixtures("small_tiles")
def test_equal_rows_come_in_their_order(device: torch.device) -> None:
    gallery = torch.full((17, 3), 0.3, dtype=torch.float16)
    _, rows = _joined(list(nearest(Comparison(gallery[:2], gallery, ENOUGH, device), 12)))
    assert rows == [list(range(12))] * 2


@pytest.mark.usefixtures("small_tiles")
def test_an_image_left_out_is_not_its_own_neighbour(device: torch.device) -> None:
    features = torch.randn(13, 5, generator=torch.Generator().manual_seed(0))
    _, rows = _joined(list(nearest(Comparison(features, features, ENOUGH, device, leave_one_out=True), 12)))
    for image, neighbours in enumerate(rows):
        assert sorted([image, *neighbours]) == list(range(13))


def test_features_of_zeros_are_similar_to_nothing(device: torch.device) -> None:
    similarity, rows = _joined(list(nearest(Comparison(torch.zeros(1, 2), torch.eye(2), ENOUGH, device), 2)))
    assert (similarity, rows) == ([[0.0, 0.0]], [[0, 1]])


@pytest.mark.parametrize(("leave_one_out", "rows"), [(False, 3), (True, 2)])
def test_more_neighbours_than_images_are_refused(
    device: torch.device, leave_one_out: bool, rows: int
) -> None:
    comparison = Comparison(torch.eye(3), torch.eye(3), ENOUGH, device, leave_one_out)
    with pytest.raises(UserError, match=f"^4 nearest neighbours of {rows} images: choose a smaller k$"):
        next(nearest(comparison, 4))


def test_too_little_memory_is_refused_with_what_is_needed(device: torch.device) -> None:
    with pytest.raises(
        UserError, match=r"^comparing features within 1.00 MB of memory: 37\.84 MB is the least"
    ):
        next(nearest(Comparison(torch.eye(3), torch.eye(3), 10**6, device), 1))

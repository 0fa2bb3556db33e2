"""Each measure against its formula, written out in plain float64."""

from __future__ import annotations

import math

import pytest
import torch

from probe.attention_maps.formulas import entropy, inside, similarities


def _maps(images: int = 3, queries: int = 4, patches: int = 6) -> torch.Tensor:
    drawn = torch.Generator().manual_seed(0)
    return torch.softmax(2 * torch.randn(images, queries, patches, generator=drawn), dim=-1)


def test_entropy_is_that_of_the_formula() -> None:
    maps = _maps()
    wanted = [
        [-sum(p * math.log(p) for p in row) / math.log(6) for row in image]
        for image in maps.double().tolist()
    ]
    torch.testing.assert_close(
        entropy(maps).double(), torch.tensor(wanted, dtype=torch.float64), rtol=1e-5, atol=1e-6
    )


def test_entropy_is_0_on_one_patch_and_1_when_uniform() -> None:
    maps = torch.tensor([[[0.0, 1.0, 0.0], [1 / 3, 1 / 3, 1 / 3]]])
    torch.testing.assert_close(entropy(maps), torch.tensor([[0.0, 1.0]]))


def test_similarities_are_cosines_to_the_other_queries() -> None:
    maps = _maps()
    mean, highest = similarities(maps)
    for image, rows in enumerate(maps.double().tolist()):
        for query, own in enumerate(rows):
            cosines = [
                sum(a * b for a, b in zip(own, other, strict=True)) / (math.hypot(*own) * math.hypot(*other))
                for number, other in enumerate(rows)
                if number != query
            ]
            assert float(mean[image, query]) == pytest.approx(sum(cosines) / 3, rel=1e-5)
            assert float(highest[image, query]) == pytest.approx(max(cosines), rel=1e-5)


def test_mass_on_the_object_counts_the_covered_share_of_each_cell() -> None:
    mask = torch.zeros(1, 8, 12, dtype=torch.bool)  # a 2 × 3 grid of cells of 4 × 4 pixels
    mask[0, 0:4, 4:10] = True  # cell 1 whole, half of cell 2
    maps = torch.tensor([[[0.1, 0.2, 0.4, 0.0, 0.3, 0.0]]])
    found = inside(maps, (2, 3), mask)
    assert float(found["mass"]) == pytest.approx(0.2 + 0.4 / 2)
    assert float(found["area"]) == pytest.approx(1.5 / 6)


def test_a_uniform_map_has_the_area_of_the_object_as_mass() -> None:
    mask = torch.zeros(1, 8, 12, dtype=torch.bool)
    mask[0, 1:7, 3:5] = True
    found = inside(torch.full((1, 2, 6), 1 / 6), (2, 3), mask)
    torch.testing.assert_close(found["mass"], found["area"])


@pytest.mark.parametrize(("cell", "on"), [(0, 0.0), (1, 1.0), (5, 0.0)])
def test_the_peak_is_the_middle_of_the_highest_cell(cell: int, on: float) -> None:
    mask = torch.zeros(1, 8, 12, dtype=torch.bool)
    mask[0, 0:4, 4:8] = True
    maps = torch.full((1, 1, 6), 0.01)
    maps[0, 0, cell] = 0.95
    assert float(inside(maps, (2, 3), mask)["peak"]) == on


def test_the_centroid_may_be_on_the_object_where_no_peak_is() -> None:
    mask = torch.zeros(1, 8, 12, dtype=torch.bool)
    mask[0, :, 5:7] = True
    ends = torch.tensor([[[0.25, 0.0, 0.25, 0.25, 0.0, 0.25]]])
    found = inside(ends, (2, 3), mask)
    assert (float(found["centroid"]), float(found["peak"]), float(found["mass"])) == (1.0, 0.0, 0.0)

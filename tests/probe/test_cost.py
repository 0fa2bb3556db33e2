"""What probes cost, against counts by hand: 2 for each multiplication of a matrix product."""

from __future__ import annotations

import pytest

from configs import UserError
from probe import build_probe
from probe.cost import probe_cost

CLASSES = 1000


@pytest.mark.parametrize("name", ["lp", "lp_mean"])
@pytest.mark.parametrize("dim", [384, 768, 1024])
def test_a_linear_probe_costs_its_classifier(name: str, dim: int) -> None:
    cost = probe_cost(name, dim, CLASSES, (14, 14))
    assert cost.parameters == dim * CLASSES + CLASSES
    assert cost.gflops == 2 * dim * CLASSES / 1e9


@pytest.mark.parametrize("queries", [8, 32])
@pytest.mark.parametrize(("dim", "grid"), [(384, (14, 14)), (768, (16, 16)), (1024, (5, 7))])
@pytest.mark.parametrize("cls", [False, True])
def test_efficient_probing_costs_two_products_with_the_tokens_and_two_with_what_was_pooled(
    queries: int, dim: int, grid: tuple[int, int], cls: bool
) -> None:
    cost = probe_cost(f"ep{queries}" + "+cls" * cls, dim, CLASSES, grid)
    tokens = grid[0] * grid[1] + cls
    scores = pooled = queries * tokens * dim
    assert cost.gflops == pytest.approx(2 * (scores + pooled + dim * dim + dim * CLASSES) / 1e9, rel=1e-12)
    assert cost.parameters == queries * dim + dim * dim + dim * CLASSES + CLASSES


def test_parameters_are_those_of_the_probe() -> None:
    assert (
        probe_cost("vjepa", 32, 10, (2, 3)).parameters == build_probe("vjepa", 32, 10, (2, 3)).num_parameters
    )


@pytest.mark.parametrize(("queries", "grid"), [(32, (28, 28)), (64, (14, 14)), (8, (14, 14))])
def test_activations_grow_as_the_attention_weights_do(queries: int, grid: tuple[int, int]) -> None:
    usual, other = (
        probe_cost(name, 384, CLASSES, shape).activation_bytes
        for name, shape in (("ep32", (14, 14)), (f"ep{queries}", grid))
    )
    weights = 4 * (queries * grid[0] * grid[1] - 32 * 14 * 14)
    pooled = 4 * (queries - 32) * 384
    assert other - usual == weights + pooled


def test_tokens_are_no_activations_of_a_linear_probe() -> None:
    small, large = (probe_cost("lp", 384, CLASSES, grid).activation_bytes for grid in ((2, 2), (28, 28)))
    assert small == large


def test_an_impossible_probe_is_refused() -> None:
    with pytest.raises(UserError, match="do not divide the token width"):
        probe_cost("ep32", 100, CLASSES, (2, 3))

"""SimPool against its published formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from probe.poolings.simpool import SimPool

DIM, MAPS = 24, 1


@pytest.fixture
def published(naive_heads: Callable[..., Any]) -> Callable[..., Any]:
    """Query from the mean token, keys of all normed tokens."""

    def form(tokens: torch.Tensor, w: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        normed = F.layer_norm(tokens, (DIM,), w["norm.weight"], w["norm.bias"], 1e-6)
        query = tokens.mean(1) @ w["query.weight"].T
        return naive_heads(query, normed @ w["keys.weight"].T, normed, 1)

    return form


def test_pooling_first_is_the_published_form(
    published: Callable[..., Any], token_shape: Any, draw_tokens: Any, disturbed: Any, check_published: Any
) -> None:
    tokens = draw_tokens(token_shape.batch, token_shape.count, DIM)
    check_published(disturbed(SimPool(DIM)), tokens, published)


def test_attention_rows_sum_to_one(
    token_shape: Any, draw_tokens: Any, disturbed: Any, check_attention_rows: Any
) -> None:
    tokens = draw_tokens(token_shape.batch, token_shape.count, DIM)
    check_attention_rows(disturbed(SimPool(DIM)), tokens, MAPS)


def test_stacked_trials_are_those_of_each_alone(draw_tokens: Any, disturbed: Any, check_trials: Any) -> None:
    check_trials([disturbed(SimPool(DIM), seed) for seed in range(3)], draw_tokens(2, 7, DIM))


@pytest.mark.parametrize(("dim", "published"), [(384, 680_680), (768, 1_950_184), (1024, 3_124_200)])
def test_it_has_the_published_parameters(dim: int, published: int, count_with_head: Any) -> None:
    assert count_with_head(lambda: SimPool(dim)) == published


def test_the_norm_starts_as_the_identity_and_projections_as_linear_layers() -> None:
    torch.manual_seed(0)
    pooling = SimPool(400)
    assert bool((pooling.norm.weight == 1).all())
    assert bool((pooling.norm.bias == 0).all())
    for projection in (pooling.query, pooling.keys):
        assert projection.bias is None
        assert projection.weight.abs().max().item() == pytest.approx(1 / 20, rel=0.01)

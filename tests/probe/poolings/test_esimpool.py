"""SimPool without projections against its published formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from configs import UserError
from probe.poolings.esimpool import ESimPool

DIM, MAPS = 24, 12


@pytest.fixture
def published(naive_heads: Callable[..., Any]) -> Callable[..., Any]:
    """Heads of the normed mean token on heads of the normed tokens; values are the tokens."""

    def form(tokens: torch.Tensor, w: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        query, keys = (
            F.layer_norm(values, (DIM,), w["norm.weight"], w["norm.bias"], 1e-6)
            for values in (tokens.mean(1), tokens)
        )
        return naive_heads(query, keys, tokens, MAPS)

    return form


def test_pooling_first_is_the_published_form(
    published: Callable[..., Any], token_shape: Any, draw_tokens: Any, disturbed: Any, check_published: Any
) -> None:
    tokens = draw_tokens(token_shape.batch, token_shape.count, DIM)
    check_published(disturbed(ESimPool(DIM)), tokens, published)


def test_attention_rows_sum_to_one(
    token_shape: Any, draw_tokens: Any, disturbed: Any, check_attention_rows: Any
) -> None:
    tokens = draw_tokens(token_shape.batch, token_shape.count, DIM)
    check_attention_rows(disturbed(ESimPool(DIM)), tokens, MAPS)


def test_stacked_trials_are_those_of_each_alone(draw_tokens: Any, disturbed: Any, check_trials: Any) -> None:
    check_trials([disturbed(ESimPool(DIM), seed) for seed in range(3)], draw_tokens(2, 7, DIM))


@pytest.mark.parametrize(("dim", "published"), [(384, 385_768), (768, 770_536)])
def test_it_has_the_published_parameters(dim: int, published: int, count_with_head: Any) -> None:
    assert count_with_head(lambda: ESimPool(dim)) == published


def test_a_width_of_1024_takes_16_heads(count_with_head: Any) -> None:
    assert count_with_head(lambda: ESimPool(1024, 16)) == 1_027_048


def test_the_norm_starts_as_the_identity() -> None:
    pooling = ESimPool(48)
    assert bool((pooling.norm.weight == 1).all())
    assert bool((pooling.norm.bias == 0).all())


def test_heads_that_do_not_divide_the_width_are_refused_with_numbers_that_do() -> None:
    with pytest.raises(UserError, match="12 heads do not divide the token width 1024: use 4, 8, 16 heads"):
        ESimPool(1024)

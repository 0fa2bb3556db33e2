"""Multi-head cross-attention against its published formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from configs import UserError
from probe.poolings.multi_head import MultiHeadPooling

DIM, MAPS = 24, 4


@pytest.fixture
def published(naive_heads: Callable[..., Any]) -> Callable[..., Any]:
    """Keys and values of all tokens, head by head."""

    def form(tokens: torch.Tensor, w: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        query = w["input_K1D"] @ w["query.weight"].T
        return naive_heads(query, tokens @ w["keys.weight"].T, tokens @ w["values.weight"].T, MAPS)

    return form


def test_pooling_first_is_the_published_form(
    published: Callable[..., Any], token_shape: Any, draw_tokens: Any, disturbed: Any, check_published: Any
) -> None:
    tokens = draw_tokens(token_shape.batch, token_shape.count, DIM)
    check_published(disturbed(MultiHeadPooling(DIM, MAPS)), tokens, published)


def test_attention_rows_sum_to_one(
    token_shape: Any, draw_tokens: Any, disturbed: Any, check_attention_rows: Any
) -> None:
    tokens = draw_tokens(token_shape.batch, token_shape.count, DIM)
    check_attention_rows(disturbed(MultiHeadPooling(DIM, MAPS)), tokens, MAPS)


def test_stacked_trials_are_those_of_each_alone(draw_tokens: Any, disturbed: Any, check_trials: Any) -> None:
    check_trials([disturbed(MultiHeadPooling(DIM, MAPS), seed) for seed in range(3)], draw_tokens(2, 7, DIM))


@pytest.mark.parametrize(("dim", "published"), [(384, 827_752), (768, 2_539_240), (1024, 4_171_752)])
def test_it_has_the_published_parameters(dim: int, published: int, count_with_head: Any) -> None:
    assert count_with_head(lambda: MultiHeadPooling(dim)) == published


def test_the_number_of_heads_does_not_change_the_parameters(count_with_head: Any) -> None:
    assert count_with_head(lambda: MultiHeadPooling(768, 12)) == 2_539_240


def test_the_learned_vector_starts_as_normal_noise_of_a_fiftieth() -> None:
    torch.manual_seed(0)
    pooling = MultiHeadPooling(1024)
    assert pooling.input_K1D.std().item() == pytest.approx(0.02, rel=0.1)
    assert pooling.heads == 8


def test_heads_that_do_not_divide_the_width_are_refused_with_numbers_that_do() -> None:
    with pytest.raises(UserError, match="7 heads do not divide the token width 768: use 4, 6, 8 heads"):
        MultiHeadPooling(768, 7)

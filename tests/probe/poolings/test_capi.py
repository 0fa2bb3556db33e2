"""CAPI's attentive probe against its published formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from configs import UserError
from probe.poolings.capi import CAPIPooling

DIM, MAPS = 192, 3


@pytest.fixture
def published(naive_heads: Callable[..., Any]) -> Callable[..., Any]:
    """Keys and values of all tokens by one layer with bias, heads of 64 channels."""

    def form(tokens: torch.Tensor, w: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = F.linear(tokens, w["keys_values.weight"], w["keys_values.bias"]).chunk(2, -1)
        return naive_heads(w["query_KD"].unsqueeze(0), keys, values, MAPS)

    return form


def test_pooling_first_is_the_published_form(
    published: Callable[..., Any], token_shape: Any, draw_tokens: Any, disturbed: Any, check_published: Any
) -> None:
    tokens = draw_tokens(token_shape.batch, token_shape.count, DIM)
    check_published(disturbed(CAPIPooling(DIM)), tokens, published)


def test_attention_rows_sum_to_one(
    token_shape: Any, draw_tokens: Any, disturbed: Any, check_attention_rows: Any
) -> None:
    tokens = draw_tokens(token_shape.batch, token_shape.count, DIM)
    check_attention_rows(disturbed(CAPIPooling(DIM)), tokens, MAPS)


def test_stacked_trials_are_those_of_each_alone(draw_tokens: Any, disturbed: Any, check_trials: Any) -> None:
    check_trials([disturbed(CAPIPooling(DIM), seed) for seed in range(3)], draw_tokens(2, 7, DIM))


@pytest.mark.parametrize(("dim", "published"), [(384, 681_064), (768, 1_950_952), (1024, 3_125_224)])
def test_it_has_the_published_parameters(dim: int, published: int, count_with_head: Any) -> None:
    assert count_with_head(lambda: CAPIPooling(dim)) == published


def test_query_and_weights_start_as_normal_noise_of_a_fiftieth_and_biases_at_zero() -> None:
    torch.manual_seed(0)
    pooling = CAPIPooling(1024)
    assert pooling.query_KD.std().item() == pytest.approx(0.02, rel=0.1)
    assert pooling.keys_values.weight.std().item() == pytest.approx(0.02, rel=0.01)
    assert bool((pooling.keys_values.bias == 0).all())


def test_a_width_that_is_no_multiple_of_64_is_refused_with_probes_that_take_it() -> None:
    message = "heads of 64 channels do not divide the token width 96: use mhca, siglip or cae"
    with pytest.raises(UserError, match=message):
        CAPIPooling(96)

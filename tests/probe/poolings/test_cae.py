"""CAE's attentive probe against its published formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from configs import UserError
from probe.poolings.cae import CAEPooling

DIM, MAPS = 32, 8


@pytest.fixture
def published(naive_heads: Callable[..., Any]) -> Callable[..., Any]:
    """Norms of query, keys and values; keys and values of all tokens, head by head; output projection."""

    def form(tokens: torch.Tensor, w: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        def norm(values: torch.Tensor, name: str) -> torch.Tensor:
            return F.layer_norm(values, (DIM,), w[f"{name}.weight"], w[f"{name}.bias"])

        query = norm(w["query_K1D"], "query_norm") @ w["query.weight"].T
        keys = norm(tokens, "key_norm") @ w["keys.weight"].T
        values = norm(tokens, "value_norm") @ w["values.weight"].T
        pooled, maps = naive_heads(query, keys, values, MAPS)
        return F.linear(pooled, w["output.weight"], w["output.bias"]), maps

    return form


def test_pooling_first_is_the_published_form(
    published: Callable[..., Any], token_shape: Any, draw_tokens: Any, disturbed: Any, check_published: Any
) -> None:
    tokens = draw_tokens(token_shape.batch, token_shape.count, DIM)
    check_published(disturbed(CAEPooling(DIM)), tokens, published)


def test_attention_rows_sum_to_one(
    token_shape: Any, draw_tokens: Any, disturbed: Any, check_attention_rows: Any
) -> None:
    tokens = draw_tokens(token_shape.batch, token_shape.count, DIM)
    check_attention_rows(disturbed(CAEPooling(DIM)), tokens, MAPS)


def test_stacked_trials_are_those_of_each_alone(draw_tokens: Any, disturbed: Any, check_trials: Any) -> None:
    check_trials([disturbed(CAEPooling(DIM), seed) for seed in range(3)], draw_tokens(2, 7, DIM))


@pytest.mark.parametrize(("dim", "published"), [(384, 978_664), (768, 3_135_976), (1024, 5_229_544)])
def test_it_has_the_published_parameters(dim: int, published: int, count_with_head: Any) -> None:
    assert count_with_head(lambda: CAEPooling(dim)) == published


def test_it_starts_with_a_zero_query_and_even_attention(draw_tokens: Any) -> None:
    pooling = CAEPooling(DIM).double()
    assert bool((pooling.query_K1D == 0).all())
    maps = pooling.attention(draw_tokens(2, 5, DIM))
    torch.testing.assert_close(maps, torch.full_like(maps, 1 / 5))


def test_its_linear_layers_start_as_those_of_pytorch() -> None:
    torch.manual_seed(0)
    pooling = CAEPooling(400)
    for part in (pooling.query, pooling.keys, pooling.values, pooling.output):
        assert part.weight.abs().max().item() == pytest.approx(1 / 20, rel=0.01)
    assert pooling.output.bias.abs().max().item() == pytest.approx(1 / 20, rel=0.05)


def test_the_norm_that_is_only_counted_gets_no_gradient(draw_tokens: Any) -> None:
    pooling = CAEPooling(DIM).double()
    pooling(draw_tokens(2, 5, DIM)).sum().backward()
    assert pooling.unused_norm.weight.grad is None


def test_heads_that_do_not_divide_the_width_are_refused_with_numbers_that_do() -> None:
    with pytest.raises(UserError, match="8 heads do not divide the token width 100: use 4, 5, 10 heads"):
        CAEPooling(100, 8)

"""Efficient probing against its published formula, written out plainly."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from configs import UserError
from probe.poolings.efficient import EfficientPooling

# (B, N, D, M, d_out): 197 = 14·14 + [CLS], 256 = 16·16, 6 = 2·3
SHAPES = pytest.mark.parametrize(
    ("batch", "count", "dim", "queries", "d_out"),
    [
        (3, 197, 24, 4, 1),
        (2, 256, 32, 8, 2),
        (4, 1, 12, 3, 1),
        (1, 196, 30, 5, 3),
        (1, 1, 8, 8, 1),
        (5, 6, 16, 1, 4),
        (2, 50, 48, 12, 4),
    ],
)


def published(tokens: torch.Tensor, weights: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, D_o) and attention (B, M, N): all values are projected, query j pools chunk j of the channels."""
    queries, values = weights["queries_KMD"], tokens @ weights["values.weight"].T
    pooled, maps = [], []
    for query, chunk in zip(queries, values.chunk(len(queries), dim=-1), strict=True):
        scores = (tokens * query).sum(dim=-1) / math.sqrt(tokens.shape[-1])
        exponentials = (scores - scores.amax(dim=-1, keepdim=True)).exp()
        attention = exponentials / exponentials.sum(dim=-1, keepdim=True)
        pooled.append((attention.unsqueeze(-1) * chunk).sum(dim=1))
        maps.append(attention)
    return torch.cat(pooled, dim=-1), torch.stack(maps, dim=1)


@SHAPES
def test_pooling_first_is_the_published_form(
    batch: int,
    count: int,
    dim: int,
    queries: int,
    d_out: int,
    draw_tokens: Callable[..., torch.Tensor],
    disturbed: Any,
    check_published: Any,
) -> None:
    pooling = disturbed(EfficientPooling(dim, queries, d_out))
    assert pooling.out_dim == dim // d_out
    check_published(pooling, draw_tokens(batch, count, dim), published)


@SHAPES
def test_attention_rows_sum_to_one(
    batch: int,
    count: int,
    dim: int,
    queries: int,
    d_out: int,
    draw_tokens: Callable[..., torch.Tensor],
    disturbed: Any,
    check_attention_rows: Any,
) -> None:
    pooling = disturbed(EfficientPooling(dim, queries, d_out))
    check_attention_rows(pooling, draw_tokens(batch, count, dim), queries)


@pytest.mark.parametrize("d_out", [1, 2])
def test_stacked_trials_are_those_of_each_alone(
    d_out: int, draw_tokens: Callable[..., torch.Tensor], disturbed: Any, check_trials: Any
) -> None:
    check_trials(
        [disturbed(EfficientPooling(24, 4, d_out), seed) for seed in range(3)], draw_tokens(2, 7, 24)
    )


def test_an_image_pools_to_the_same_alone_and_in_a_batch(
    draw_tokens: Callable[..., torch.Tensor], disturbed: Any
) -> None:
    pooling, tokens = disturbed(EfficientPooling(24, 4)), draw_tokens(3, 10, 24)
    alone = torch.cat([pooling(tokens[i : i + 1]) for i in range(3)], dim=1)
    torch.testing.assert_close(pooling(tokens), alone, rtol=1e-12, atol=1e-12)


def test_the_order_of_the_tokens_does_not_matter(
    draw_tokens: Callable[..., torch.Tensor], disturbed: Any
) -> None:
    pooling, tokens = disturbed(EfficientPooling(24, 4)), draw_tokens(2, 10, 24)
    torch.testing.assert_close(pooling(tokens), pooling(tokens.flip(1)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("dim", "published"), [(384, 544_744), (768, 1_383_400), (1024, 2_106_344)])
def test_it_has_the_published_parameters(dim: int, published: int, count_with_head: Any) -> None:
    assert count_with_head(lambda: EfficientPooling(dim)) == published


def test_queries_start_as_normal_noise_of_a_fiftieth() -> None:
    torch.manual_seed(0)
    queries = EfficientPooling(768, 32).queries_KMD.detach()
    assert queries.shape == (1, 32, 768)
    assert 0.0195 < queries.std().item() < 0.0205
    assert abs(queries.mean().item()) < 0.001


def test_values_start_as_a_linear_layer_of_the_whole_width_starts() -> None:
    torch.manual_seed(0)
    values = EfficientPooling(256, 16, 2).values.weight.detach()
    assert values.shape == (1, 128, 256)
    bound = 1 / math.sqrt(256)
    assert 0.99 * bound < values.abs().max().item() <= bound
    assert values.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)


@pytest.mark.parametrize(
    ("dim", "queries", "d_out", "suggested"),
    [(768, 7, 1, "4, 6, 8"), (12, 32, 1, "4, 6, 12"), (96, 16, 8, "4, 6, 12"), (193, 32, 1, "1, 193")],
)
def test_queries_that_do_not_divide_the_width_are_refused_with_numbers_that_do(
    dim: int, queries: int, d_out: int, suggested: str
) -> None:
    with pytest.raises(UserError, match=f"do not divide the token width {dim}: use {suggested} queries"):
        EfficientPooling(dim, queries, d_out)


def test_an_output_divisor_that_does_not_divide_the_width_is_refused_with_some_that_do() -> None:
    with pytest.raises(UserError, match="output divisor 7 does not divide the token width 96: use 4, 6, 8"):
        EfficientPooling(96, 32, 7)

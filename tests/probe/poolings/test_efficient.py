"""Efficient probing against its published formula, written out plainly."""

from __future__ import annotations

import math

import pytest
import torch

from configs import UserError
from probe.poolings import EfficientPooling

# (B, N, D, M, d_out): 197 = 14·14 + [CLS], 256 = 16·16, 6 = 2·3
SHAPES = [
    (3, 197, 24, 4, 1),
    (2, 256, 32, 8, 2),
    (4, 1, 12, 3, 1),
    (1, 196, 30, 5, 3),
    (1, 1, 8, 8, 1),
    (5, 6, 16, 1, 4),
    (2, 50, 48, 12, 4),
]


def published_form(
    tokens: torch.Tensor, queries: torch.Tensor, projection: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, D_o) and attention (B, M, N): all values are projected, query j pools chunk j of the channels."""
    values = tokens @ projection.T
    pooled, maps = [], []
    for query, chunk in zip(queries, values.chunk(len(queries), dim=-1), strict=True):
        scores = (tokens * query).sum(dim=-1) / math.sqrt(tokens.shape[-1])
        weights = scores.exp() / scores.exp().sum(dim=-1, keepdim=True)
        pooled.append((weights.unsqueeze(-1) * chunk).sum(dim=1))
        maps.append(weights)
    return torch.cat(pooled, dim=-1), torch.stack(maps, dim=1)


def double_pooling(dim: int, num_queries: int, d_out: int) -> EfficientPooling:
    """A pooling in float64 whose queries are long enough to prefer some tokens clearly."""
    torch.manual_seed(dim)
    pooling = EfficientPooling(dim, num_queries, d_out).double()
    with torch.no_grad():
        pooling.queries_MD.normal_()
    return pooling


@pytest.mark.parametrize(("batch", "count", "dim", "queries", "d_out"), SHAPES)
def test_pooling_first_equals_projecting_the_values_first(
    batch: int, count: int, dim: int, queries: int, d_out: int
) -> None:
    pooling = double_pooling(dim, queries, d_out)
    tokens = torch.randn(batch, count, dim, dtype=torch.float64)
    expected, _ = published_form(tokens, pooling.queries_MD, pooling.values_MOD.reshape(-1, dim))
    found = pooling(tokens)
    assert found.shape == (batch, dim // d_out)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("batch", "count", "dim", "queries", "d_out"), SHAPES)
def test_gradients_equal_those_of_projecting_the_values_first(
    batch: int, count: int, dim: int, queries: int, d_out: int
) -> None:
    pooling = double_pooling(dim, queries, d_out)
    tokens = torch.randn(batch, count, dim, dtype=torch.float64, requires_grad=True)
    sources = (tokens, pooling.queries_MD, pooling.values_MOD)
    expected, _ = published_form(tokens, pooling.queries_MD, pooling.values_MOD.reshape(-1, dim))
    direction = torch.randn_like(expected)
    wanted = torch.autograd.grad((expected * direction).sum(), sources)
    found = torch.autograd.grad((pooling(tokens) * direction).sum(), sources)
    for gradient, reference in zip(found, wanted, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("batch", "count", "dim", "queries", "d_out"), SHAPES)
def test_attention_is_the_published_softmax_of_every_query(
    batch: int, count: int, dim: int, queries: int, d_out: int
) -> None:
    pooling = double_pooling(dim, queries, d_out)
    tokens = torch.randn(batch, count, dim, dtype=torch.float64)
    _, expected = published_form(tokens, pooling.queries_MD, pooling.values_MOD.reshape(-1, dim))
    found = pooling.attention(tokens)
    assert found.shape == (batch, queries, count)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("count", [1, 197])
def test_attention_rows_sum_to_one_for_tokens_of_any_size(count: int) -> None:
    pooling = double_pooling(16, 4, 1).float()
    rows = pooling.attention(1000 * torch.randn(2, count, 16)).sum(dim=-1)
    torch.testing.assert_close(rows, torch.ones(2, 4))


def test_an_image_pools_to_the_same_alone_and_in_a_batch() -> None:
    pooling = double_pooling(24, 4, 1)
    tokens = torch.randn(3, 10, 24, dtype=torch.float64)
    alone = torch.cat([pooling(tokens[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(pooling(tokens), alone, rtol=1e-12, atol=1e-12)


def test_the_order_of_the_tokens_does_not_matter() -> None:
    pooling = double_pooling(24, 4, 1)
    tokens = torch.randn(2, 10, 24, dtype=torch.float64)
    torch.testing.assert_close(pooling(tokens), pooling(tokens.flip(1)), rtol=1e-12, atol=1e-12)


def test_queries_start_as_normal_noise_of_a_fiftieth() -> None:
    torch.manual_seed(0)
    queries = EfficientPooling(768, 32).queries_MD.detach()
    assert 0.0195 < float(queries.std()) < 0.0205
    assert abs(float(queries.mean())) < 0.001


def test_values_start_as_a_linear_layer_of_the_whole_width_starts() -> None:
    torch.manual_seed(0)
    values = EfficientPooling(256, 16, 2).values_MOD.detach()
    bound = 1 / math.sqrt(256)
    assert 0.99 * bound < float(values.abs().max()) <= bound
    assert float(values.std()) == pytest.approx(bound / math.sqrt(3), rel=0.02)


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

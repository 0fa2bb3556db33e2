"""AbMILP, with self-attention and without, against its published form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from probe.poolings.abmilp import ABMILPPooling, LinearABMILPPooling

DIM = 12


@pytest.fixture
def published(naive_heads: Callable[..., Any]) -> Callable[..., Any]:
    """Self-attention of one head, values and output projection of all tokens, then their weighted sum."""

    def form(tokens: torch.Tensor, w: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        queries, keys, values = F.linear(tokens, w["qkv.weight"]).chunk(3, dim=-1)
        attended = torch.stack([naive_heads(query, keys, values, 1)[0] for query in queries.unbind(1)], 1)
        attended = F.linear(attended, w["proj.weight"], w["proj.bias"])
        hidden = torch.tanh(F.linear(attended, w["hidden.weight"], w["hidden.bias"]))
        weights = torch.softmax(F.linear(hidden, w["score.weight"], w["score.bias"]), dim=1)
        return (attended * weights).sum(dim=1), weights.mT

    return form


def published_linear(tokens: torch.Tensor, w: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """A score of each token and the weighted sum of the tokens."""
    weights = torch.softmax(F.linear(tokens, w["score.weight"], w["score.bias"]), dim=1)
    return (tokens * weights).sum(dim=1), weights.mT


def test_mixing_raw_tokens_is_the_published_self_attention(
    published: Callable[..., Any], token_shape: Any, draw_tokens: Any, disturbed: Any, check_published: Any
) -> None:
    tokens = draw_tokens(token_shape.batch, token_shape.count, DIM)
    check_published(disturbed(ABMILPPooling(DIM)), tokens, published)


def test_the_linear_one_is_the_published_form(
    token_shape: Any, draw_tokens: Any, disturbed: Any, check_published: Any
) -> None:
    tokens = draw_tokens(token_shape.batch, token_shape.count, DIM)
    check_published(disturbed(LinearABMILPPooling(DIM)), tokens, published_linear)


@pytest.mark.parametrize("make", [ABMILPPooling, LinearABMILPPooling])
def test_attention_rows_sum_to_one(
    make: Callable[[int], Any], draw_tokens: Any, disturbed: Any, check_attention_rows: Any
) -> None:
    check_attention_rows(disturbed(make(DIM)), draw_tokens(2, 7, DIM), 1)


@pytest.mark.parametrize("make", [ABMILPPooling, LinearABMILPPooling])
def test_stacked_trials_are_those_of_each_alone(
    make: Callable[[int], Any], draw_tokens: Any, disturbed: Any, check_trials: Any
) -> None:
    check_trials([disturbed(make(DIM), seed) for seed in range(3)], draw_tokens(2, 7, DIM))


@pytest.mark.parametrize("make", [ABMILPPooling, LinearABMILPPooling])
def test_every_parameter_has_a_gradient_for_the_optimiser(make: Callable[[int], Any]) -> None:
    pooling = make(DIM)
    pooling(torch.randn(2, 7, DIM)).sum().backward()
    assert all(parameter.grad is not None for parameter in pooling.parameters())


@pytest.mark.parametrize(
    ("make", "dim", "published"),
    [
        (ABMILPPooling, 384, 1_123_433),
        (ABMILPPooling, 768, 3_720_425),
        (ABMILPPooling, 1024, 6_270_953),
        (LinearABMILPPooling, 384, 385_385),
        (LinearABMILPPooling, 768, 769_769),
        (LinearABMILPPooling, 1024, 1_026_025),
    ],
)
def test_it_has_the_published_parameters(
    make: Callable[[int], Any], dim: int, published: int, count_with_head: Any
) -> None:
    assert count_with_head(lambda: make(dim)) == published


def test_all_layers_start_as_pytorchs_linear_layers() -> None:
    torch.manual_seed(0)
    pooling = ABMILPPooling(256)
    layers = [pooling.qkv, pooling.proj, pooling.hidden, pooling.score, LinearABMILPPooling(256).score]
    for layer in layers:
        assert layer.weight.abs().max().item() == pytest.approx(1 / 16, rel=0.05)
        assert layer.weight.std().item() == pytest.approx(1 / 16 / 3**0.5, rel=0.15)
    assert pooling.qkv.bias is None

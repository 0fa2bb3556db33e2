"""V-JEPA's attentive probe against its published formula."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from configs import UserError
from probe.poolings.vjepa import VJEPAPooling

DIM, MAPS = 32, 16


@pytest.fixture
def published(naive_heads: Callable[..., Any]) -> Callable[..., Any]:
    """A cross-attention block: keys and values of all normed tokens, head by head."""

    def form(tokens: torch.Tensor, w: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        def norm(values: torch.Tensor, name: str) -> torch.Tensor:
            return F.layer_norm(values, (DIM,), w[f"{name}.weight"], w[f"{name}.bias"])

        q = F.linear(w["query_K1D"], w["cross_attention.query.weight"], w["cross_attention.query.bias"])
        normed = norm(tokens, "token_norm")
        kv = F.linear(normed, w["cross_attention.keys_values.weight"], w["cross_attention.keys_values.bias"])
        pooled, maps = naive_heads(q, *kv.chunk(2, -1), MAPS)
        attended = F.linear(pooled, w["cross_attention.output.weight"], w["cross_attention.output.bias"])
        attended = w["query_K1D"] + attended
        hidden = F.gelu(F.linear(norm(attended, "mlp_norm"), w["mlp.inner.weight"], w["mlp.inner.bias"]))
        mlp = F.linear(hidden, w["mlp.outer.weight"], w["mlp.outer.bias"])
        return attended + mlp, maps

    return form


def test_pooling_first_is_the_published_form(
    published: Callable[..., Any], token_shape: Any, draw_tokens: Any, disturbed: Any, check_published: Any
) -> None:
    tokens = draw_tokens(token_shape.batch, token_shape.count, DIM)
    check_published(disturbed(VJEPAPooling(DIM)), tokens, published)


def test_attention_rows_sum_to_one(
    token_shape: Any, draw_tokens: Any, disturbed: Any, check_attention_rows: Any
) -> None:
    tokens = draw_tokens(token_shape.batch, token_shape.count, DIM)
    check_attention_rows(disturbed(VJEPAPooling(DIM)), tokens, MAPS)


def test_stacked_trials_are_those_of_each_alone(draw_tokens: Any, disturbed: Any, check_trials: Any) -> None:
    check_trials([disturbed(VJEPAPooling(DIM), seed) for seed in range(3)], draw_tokens(2, 7, DIM))


@pytest.mark.parametrize(("dim", "published"), [(384, 2_159_848), (768, 7_857_640), (1024, 13_622_248)])
def test_it_has_the_published_parameters(dim: int, published: int, count_with_head: Any) -> None:
    assert count_with_head(lambda: VJEPAPooling(dim)) == published


def test_weights_start_as_normal_noise_of_a_fiftieth_less_before_each_sum() -> None:
    torch.manual_seed(0)
    pooling = VJEPAPooling(512)
    attention, mlp = pooling.cross_attention, pooling.mlp
    assert pooling.query_K1D.std().item() == pytest.approx(0.02, rel=0.15)
    for part in (attention.query, attention.keys_values, mlp.inner):
        assert part.weight.std().item() == pytest.approx(0.02, rel=0.01)
    for part in (attention.output, mlp.outer):
        assert part.weight.std().item() == pytest.approx(0.02 / math.sqrt(2), rel=0.01)
    for part in (attention.query, attention.keys_values, attention.output, mlp.inner, mlp.outer):
        assert bool((part.bias == 0).all())


def test_heads_that_do_not_divide_the_width_are_refused_with_numbers_that_do() -> None:
    with pytest.raises(UserError, match="16 heads do not divide the token width 100: use 10, 20, 25 heads"):
        VJEPAPooling(100, 16)

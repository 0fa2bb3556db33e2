"""CaiT's class attention against its published formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from configs import UserError
from probe.poolings.cait import CaiTPooling

DIM, MAPS = 24, 4


@pytest.fixture
def published(naive_heads: Callable[..., Any]) -> Callable[..., Any]:
    """The class token before the normed tokens, keys and values of all, head by head."""

    def form(tokens: torch.Tensor, w: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        def norm(values: torch.Tensor, name: str, eps: float) -> torch.Tensor:
            return F.layer_norm(values, (DIM,), w[f"{name}.weight"], w[f"{name}.bias"], eps)

        def linear(values: torch.Tensor, name: str) -> torch.Tensor:
            return F.linear(values, w[f"{name}.weight"], w[f"{name}.bias"])

        class_tokens = w["class_token_K1D"].expand(len(tokens), 1, -1)
        normed = norm(torch.cat([class_tokens, tokens], dim=1), "attention_norm", 1e-6)
        query, keys, values = linear(normed[:, 0], "query"), linear(normed, "keys"), linear(normed, "values")
        pooled, maps = naive_heads(query, keys, values, MAPS)
        found = class_tokens[:, 0] + w["attention_scale_KD"] * linear(pooled, "output")
        hidden = F.gelu(linear(norm(found, "mlp_norm", 1e-6), "mlp.inner"))
        found = found + w["mlp_scale_KD"] * linear(hidden, "mlp.outer")
        return norm(found, "output_norm", 1e-5), maps[..., 1:]

    return form


def test_pooling_first_is_the_published_form(
    published: Callable[..., Any], token_shape: Any, draw_tokens: Any, disturbed: Any, check_published: Any
) -> None:
    tokens = draw_tokens(token_shape.batch, token_shape.count, DIM)
    check_published(disturbed(CaiTPooling(DIM)), tokens, published)


def test_attention_leaves_the_rest_to_the_class_token(draw_tokens: Any, disturbed: Any) -> None:
    maps = disturbed(CaiTPooling(DIM)).attention(draw_tokens(2, 7, DIM))
    assert maps.shape == (1, 2, MAPS, 7)
    assert bool((maps.sum(dim=-1) < 1).all())


def test_stacked_trials_are_those_of_each_alone(draw_tokens: Any, disturbed: Any, check_trials: Any) -> None:
    check_trials([disturbed(CaiTPooling(DIM), seed) for seed in range(3)], draw_tokens(2, 7, DIM))


@pytest.mark.parametrize(("dim", "published"), [(384, 2_161_384), (768, 7_860_712), (1024, 13_626_344)])
def test_it_has_the_published_parameters(dim: int, published: int, count_with_head: Any) -> None:
    assert count_with_head(lambda: CaiTPooling(dim)) == published


def test_layer_scale_starts_at_a_hundred_thousandth_and_the_class_token_as_noise_of_a_fiftieth() -> None:
    torch.manual_seed(0)
    pooling = CaiTPooling(1024)
    assert bool((pooling.attention_scale_KD == 1e-5).all())
    assert bool((pooling.mlp_scale_KD == 1e-5).all())
    assert pooling.class_token_K1D.std().item() == pytest.approx(0.02, rel=0.1)


def test_heads_that_do_not_divide_the_width_are_refused_with_numbers_that_do() -> None:
    with pytest.raises(UserError, match="4 heads do not divide the token width 90: use 2, 3, 5 heads"):
        CaiTPooling(90, 4)

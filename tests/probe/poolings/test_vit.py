"""One transformer block and the mean against its published form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from configs import UserError
from probe.poolings.vit import ViTPooling

DIM, HEADS = 32, 8


@pytest.fixture
def published(naive_block: Callable[..., Any]) -> Callable[..., Any]:
    """The block on all tokens, then the mean; of the maps, the mean over the tokens that ask."""

    def form(tokens: torch.Tensor, w: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        found, maps = naive_block(tokens, w, "block", HEADS)
        return found.mean(dim=1), maps.mean(dim=2)

    return form


def test_the_mean_of_the_hidden_layer_gives_the_mean_of_the_published_block(
    published: Callable[..., Any], token_shape: Any, draw_tokens: Any, disturbed: Any, check_published: Any
) -> None:
    tokens = draw_tokens(token_shape.batch, token_shape.count, DIM)
    check_published(disturbed(ViTPooling(DIM)), tokens, published)


def test_attention_rows_sum_to_one(draw_tokens: Any, disturbed: Any, check_attention_rows: Any) -> None:
    check_attention_rows(disturbed(ViTPooling(DIM)), draw_tokens(2, 7, DIM), HEADS)


def test_stacked_trials_are_those_of_each_alone(draw_tokens: Any, disturbed: Any, check_trials: Any) -> None:
    check_trials([disturbed(ViTPooling(DIM), seed) for seed in range(3)], draw_tokens(2, 7, DIM))


@pytest.mark.parametrize(("dim", "published"), [(384, 2_158_312), (768, 7_854_568), (1024, 13_618_152)])
def test_it_has_the_published_parameters(dim: int, published: int, count_with_head: Any) -> None:
    assert count_with_head(lambda: ViTPooling(dim)) == published


def test_all_layers_start_as_pytorchs_linear_layers() -> None:
    torch.manual_seed(0)
    block = ViTPooling(256).block
    for layer, inputs in (
        (block.qkv, 256),
        (block.proj, 256),
        (block.mlp.inner, 256),
        (block.mlp.outer, 1024),
    ):
        assert layer.weight.abs().max().item() == pytest.approx(inputs**-0.5, rel=0.01)
        assert layer.weight.std().item() == pytest.approx((3 * inputs) ** -0.5, rel=0.02)
    assert block.qkv.bias is None


def test_heads_that_do_not_divide_the_width_are_refused_with_numbers_that_do() -> None:
    with pytest.raises(UserError, match="8 heads do not divide the token width 90: use 6, 9, 10 heads"):
        ViTPooling(90)

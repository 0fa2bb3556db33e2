"""CLIP's attention pooling against its published form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from configs import UserError
from probe.poolings.clip import CLIPPooling

DIM, HEADS = 24, 4


@pytest.fixture
def published(naive_heads: Callable[..., Any]) -> Callable[..., Any]:
    """The mean before the normed tokens, positions on all, queries, keys and values of all; output 0."""

    def form(tokens: torch.Tensor, w: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        normed = F.layer_norm(tokens, (DIM,), w["norm.weight"], w["norm.bias"], 1e-6)
        positioned = torch.cat([normed.mean(dim=1, keepdim=True), normed], dim=1) + w["positions_KND"]
        queries, keys, values = F.linear(positioned, w["qkv.weight"], w["qkv.bias"]).chunk(3, dim=-1)
        attended = [naive_heads(query, keys, values, HEADS) for query in queries.unbind(1)]
        every = F.linear(torch.stack([y for y, _ in attended], 1), w["output.weight"], w["output.bias"])
        maps = attended[0][1]
        return every[:, 0], maps[..., 1:] + maps[..., :1] / tokens.shape[1]

    return form


def test_the_mean_token_alone_gives_output_0_of_the_published_self_attention(
    published: Callable[..., Any], token_shape: Any, draw_tokens: Any, disturbed: Any, check_published: Any
) -> None:
    tokens = draw_tokens(token_shape.batch, token_shape.count, DIM)
    pooling = disturbed(CLIPPooling(DIM, token_shape.grid, cls=token_shape.cls))
    check_published(pooling, tokens, published)


def test_attention_rows_sum_to_one(draw_tokens: Any, disturbed: Any, check_attention_rows: Any) -> None:
    check_attention_rows(disturbed(CLIPPooling(DIM, (2, 3), cls=True)), draw_tokens(2, 7, DIM), HEADS)


def test_stacked_trials_are_those_of_each_alone(draw_tokens: Any, disturbed: Any, check_trials: Any) -> None:
    alone = [disturbed(CLIPPooling(DIM, (2, 3), cls=True), seed) for seed in range(3)]
    check_trials(alone, draw_tokens(2, 7, DIM))


@pytest.mark.parametrize(("dim", "published"), [(384, 1_052_776), (768, 3_284_200), (1024, 5_427_176)])
def test_it_has_the_published_parameters(dim: int, published: int, count_with_head: Any) -> None:
    assert count_with_head(lambda: CLIPPooling(dim, (14, 14), cls=False)) == published


@pytest.mark.parametrize(
    ("grid", "cls", "places"), [((16, 16), False, 257), ((4, 7), True, 30), ((8, 2, 2), True, 34)]
)
def test_there_is_a_position_for_every_token_and_their_mean(
    grid: tuple[int, ...], cls: bool, places: int
) -> None:
    assert CLIPPooling(DIM, grid, cls=cls).positions_KND.shape == (1, places, DIM)


def test_positions_and_projections_start_as_normal_noise_of_one_by_the_root_of_the_width() -> None:
    torch.manual_seed(0)
    pooling = CLIPPooling(256, (14, 14), cls=False)
    assert pooling.positions_KND.std().item() == pytest.approx(1 / 16, rel=0.02)
    assert pooling.qkv.weight.std().item() == pytest.approx(1 / 16, rel=0.02)
    assert pooling.qkv.bias is not None
    assert not pooling.qkv.bias.any()


def test_heads_that_do_not_divide_the_width_are_refused_with_numbers_that_do() -> None:
    with pytest.raises(UserError, match="4 heads do not divide the token width 90: use 2, 3, 5 heads"):
        CLIPPooling(90, (14, 14), cls=False)

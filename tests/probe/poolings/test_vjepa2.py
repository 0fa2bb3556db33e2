"""V-JEPA 2's attentive probe against its published form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from configs import UserError
from probe.poolings.vjepa2 import VJEPA2Pooling

DIM, HEADS = 32, 16


@pytest.fixture
def published(naive_block: Callable[..., Any], naive_heads: Callable[..., Any]) -> Callable[..., Any]:
    """Three blocks, keys and values of all tokens, no output projection, two residuals."""

    def form(tokens: torch.Tensor, w: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        def norm(values: torch.Tensor, name: str) -> torch.Tensor:
            return F.layer_norm(values, (DIM,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-5)

        def linear(values: torch.Tensor, name: str) -> torch.Tensor:
            return F.linear(values, w[f"{name}.weight"], w[f"{name}.bias"])

        for block in range(3):
            tokens, _ = naive_block(tokens, w, f"blocks.{block}", HEADS)
        query = w["query_K1D"].expand(len(tokens), -1)
        keys, values = linear(norm(tokens, "token_norm"), "keys_values").chunk(2, dim=-1)
        pooled, maps = naive_heads(linear(query, "query"), keys, values, HEADS)
        found = query + pooled
        return found + linear(F.gelu(linear(norm(found, "norm"), "mlp.inner")), "mlp.outer"), maps

    return form


def test_pooling_first_is_the_published_form(
    published: Callable[..., Any], token_shape: Any, draw_tokens: Any, disturbed: Any, check_published: Any
) -> None:
    tokens = draw_tokens(token_shape.batch, token_shape.count, DIM)
    check_published(disturbed(VJEPA2Pooling(DIM)), tokens, published)


def test_attention_rows_sum_to_one(draw_tokens: Any, disturbed: Any, check_attention_rows: Any) -> None:
    check_attention_rows(disturbed(VJEPA2Pooling(DIM)), draw_tokens(2, 7, DIM), HEADS)


def test_stacked_trials_are_those_of_each_alone(draw_tokens: Any, disturbed: Any, check_trials: Any) -> None:
    check_trials([disturbed(VJEPA2Pooling(DIM), seed) for seed in range(3)], draw_tokens(2, 7, DIM))


@pytest.mark.parametrize("dim", [384, 768, 1024])
def test_it_has_the_parameters_of_three_blocks_and_a_cross_attention(dim: int, count_with_head: Any) -> None:
    blocks = 3 * (12 * dim**2 + 13 * dim)
    cross = 11 * dim**2 + 12 * dim + dim
    assert count_with_head(lambda: VJEPA2Pooling(dim)) == blocks + cross + 1000 * dim + 1000


def test_what_each_block_adds_starts_smaller_with_depth() -> None:
    torch.manual_seed(0)
    pooling = VJEPA2Pooling(256)
    layers = [layer for block in pooling.blocks for layer in (block.proj, block.mlp.outer)]
    for layer, number in zip([*layers, pooling.mlp.outer], [1, 1, 2, 2, 3, 3, 3], strict=True):
        assert layer.weight.std().item() == pytest.approx(0.02 / (2 * number) ** 0.5, rel=0.02)
    for layer in (pooling.query, pooling.keys_values, pooling.mlp.inner, pooling.blocks[2].qkv):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert pooling.query_K1D.std().item() == pytest.approx(0.02, rel=0.2)
    biases = [value for name, value in pooling.named_parameters() if name.endswith("bias")]
    assert not any(bool(bias.any()) for bias in biases)


def test_heads_that_do_not_divide_the_width_are_refused_with_numbers_that_do() -> None:
    with pytest.raises(UserError, match="16 heads do not divide the token width 90: use 10, 15, 18 heads"):
        VJEPA2Pooling(90)

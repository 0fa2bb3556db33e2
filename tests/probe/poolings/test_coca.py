"""CoCa's attentional pooler against its published formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from probe.poolings.coca import CoCaPooling

DIM, MAPS = 24, 8


@pytest.fixture
def published(naive_heads: Callable[..., Any]) -> Callable[..., Any]:
    """All 196 queries, one head of keys and values for all heads; the first output."""

    def form(tokens: torch.Tensor, w: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        normed = F.layer_norm(w["queries_KMD"], (DIM,), w["norm_weight_KD"])
        queries = normed @ w["query.weight"].T
        keys, values = (tokens @ w["keys_values.weight"].T).chunk(2, -1)
        outputs = [
            naive_heads(query.unsqueeze(0), keys.repeat(1, 1, MAPS), values.repeat(1, 1, MAPS), MAPS)
            for query in queries
        ]
        pooled, maps = (torch.stack(found, dim=1) for found in zip(*outputs, strict=True))
        return (pooled @ w["output.weight"].T)[:, 0], maps[:, 0]

    return form


def test_pooling_first_is_the_published_form(
    published: Callable[..., Any], token_shape: Any, draw_tokens: Any, disturbed: Any, check_published: Any
) -> None:
    tokens = draw_tokens(token_shape.batch, token_shape.count, DIM)
    check_published(disturbed(CoCaPooling(DIM)), tokens, published)


def test_attention_rows_sum_to_one(
    token_shape: Any, draw_tokens: Any, disturbed: Any, check_attention_rows: Any
) -> None:
    tokens = draw_tokens(token_shape.batch, token_shape.count, DIM)
    check_attention_rows(disturbed(CoCaPooling(DIM)), tokens, MAPS)


def test_stacked_trials_are_those_of_each_alone(draw_tokens: Any, disturbed: Any, check_trials: Any) -> None:
    check_trials([disturbed(CoCaPooling(DIM), seed) for seed in range(3)], draw_tokens(2, 7, DIM))


@pytest.mark.parametrize(("dim", "published"), [(384, 903_016), (768, 1_805_032), (1024, 2_406_376)])
def test_it_has_the_published_parameters(dim: int, published: int, count_with_head: Any) -> None:
    assert count_with_head(lambda: CoCaPooling(dim)) == published


def test_queries_start_as_normal_noise_and_the_norm_as_the_identity() -> None:
    torch.manual_seed(0)
    pooling = CoCaPooling(96)
    assert pooling.queries_KMD.shape == (1, 196, 96)
    assert pooling.queries_KMD.std().item() == pytest.approx(1, rel=0.02)
    assert bool((pooling.norm_weight_KD == 1).all())


def test_a_width_that_its_heads_do_not_divide_is_as_good_as_any(draw_tokens: Any) -> None:
    assert CoCaPooling(30).double()(draw_tokens(2, 5, 30)).shape == (1, 2, 30)

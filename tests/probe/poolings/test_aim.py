"""AIM's attentive probe against its published formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from configs import UserError
from probe.poolings.aim import AIMPooling

DIM, MAPS = 32, 16


@pytest.fixture
def published(naive_heads: Callable[..., Any]) -> Callable[..., Any]:
    """Keys and values of all batch-normed tokens, head by head, normed in training or in evaluation."""

    def of(training: bool) -> Callable[..., Any]:
        def form(tokens: torch.Tensor, w: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
            statistics = (w["norm.running_mean"], w["norm.running_var"])
            normed = F.batch_norm(tokens.mT, *statistics, training=training, eps=1e-6).mT
            keys, values = normed @ w["keys.weight"].T, normed @ w["values.weight"].T
            found: tuple[torch.Tensor, torch.Tensor] = naive_heads(w["query_K1D"], keys, values, MAPS)
            return found

        return form

    return of


@pytest.fixture
def pooling(disturbed: Callable[..., Any]) -> AIMPooling:
    """With running statistics that are not those of any batch."""
    made: AIMPooling = disturbed(AIMPooling(DIM))
    made.norm.running_mean.fill_(0.3)
    made.norm.running_var.fill_(2.5)
    return made


@pytest.mark.parametrize("training", [True, False])
def test_pooling_first_is_the_published_form(
    training: bool,
    pooling: AIMPooling,
    published: Callable[..., Any],
    token_shape: Any,
    draw_tokens: Any,
    check_published: Any,
) -> None:
    tokens = draw_tokens(token_shape.batch, token_shape.count, DIM)
    check_published(pooling.train(training), tokens, published(training))


def test_training_keeps_the_running_statistics_of_the_published_norm(
    pooling: AIMPooling, draw_tokens: Any
) -> None:
    tokens, norm = draw_tokens(2, 7, DIM), torch.nn.BatchNorm1d(DIM, eps=1e-6, affine=False).double()
    norm.running_mean.fill_(0.3)
    norm.running_var.fill_(2.5)
    norm(tokens.mT)
    pooling(tokens)
    torch.testing.assert_close(pooling.norm.running_mean[0], norm.running_mean)
    torch.testing.assert_close(pooling.norm.running_var[0], norm.running_var)


def test_attention_rows_sum_to_one(
    pooling: AIMPooling, token_shape: Any, draw_tokens: Any, check_attention_rows: Any
) -> None:
    tokens = draw_tokens(token_shape.batch, token_shape.count, DIM)
    check_attention_rows(pooling.eval(), tokens, MAPS)


@pytest.mark.parametrize("training", [True, False])
def test_stacked_trials_are_those_of_each_alone(
    training: bool, draw_tokens: Any, disturbed: Any, check_trials: Any
) -> None:
    alone = [disturbed(AIMPooling(DIM), seed).train(training) for seed in range(3)]
    check_trials(alone, draw_tokens(2, 7, DIM))


def test_one_image_of_one_token_pools_in_evaluation(pooling: AIMPooling, draw_tokens: Any) -> None:
    assert pooling.eval()(draw_tokens(1, 1, DIM)).shape == (1, 1, DIM)


@pytest.mark.parametrize(("dim", "published"), [(384, 680_296), (768, 1_949_416), (1024, 3_123_176)])
def test_it_has_the_published_parameters(dim: int, published: int, count_with_head: Any) -> None:
    assert count_with_head(lambda: AIMPooling(dim)) == published


def test_the_query_starts_as_normal_noise_of_a_fiftieth() -> None:
    torch.manual_seed(0)
    assert AIMPooling(1024).query_K1D.std().item() == pytest.approx(0.02, rel=0.1)


def test_heads_that_do_not_divide_the_width_are_refused_with_numbers_that_do() -> None:
    with pytest.raises(UserError, match="16 heads do not divide the token width 100: use 10, 20, 25 heads"):
        AIMPooling(100)

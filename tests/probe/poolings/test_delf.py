"""DELF, published as "dolg", against its published form."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from configs import UserError
from probe.poolings.delf import DELFPooling

DIM = 12


def published(
    tokens: torch.Tensor, w: dict[str, torch.Tensor], *, training: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """1×1 convolutions on the map of channels, batch norm, unit features times their score, mean."""
    features = F.conv1d(tokens.mT, w["features.weight"].unsqueeze(-1), w["features.bias"])
    norm = [w[f"batch_norm.{name}"].clone() for name in ("running_mean", "running_var", "weight", "bias")]
    normed = F.batch_norm(features, *norm, training=training)
    scores = F.conv1d(F.relu(normed), w["score.weight"].unsqueeze(-1), w["score.bias"])
    weights = F.softplus(scores)
    return (F.normalize(normed, dim=1) * weights).mean(dim=2), weights


def test_mapping_what_was_pooled_is_the_published_form(
    token_shape: Any, draw_tokens: Any, disturbed: Any, check_published: Any
) -> None:
    tokens = draw_tokens(token_shape.batch, token_shape.count, DIM)
    check_published(disturbed(DELFPooling(DIM)), tokens, published)


def test_one_image_of_one_token_is_evaluated_by_the_running_statistics(
    draw_tokens: Any, disturbed: Any, check_published: Any
) -> None:
    pooling = disturbed(DELFPooling(DIM))
    for batch in (3, 4):
        pooling(draw_tokens(batch, 10, DIM))

    def evaluated(tokens: torch.Tensor, w: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        return published(tokens, w, training=False)

    check_published(pooling.eval(), draw_tokens(1, 1, DIM), evaluated)


def test_running_statistics_are_those_of_a_plain_batch_norm(draw_tokens: Any, disturbed: Any) -> None:
    pooling = disturbed(DELFPooling(DIM))
    plain = torch.nn.BatchNorm1d(DIM).double()
    for batch in (3, 4):
        tokens = draw_tokens(batch, 10, DIM)
        pooling(tokens)
        plain(F.linear(tokens, pooling.features.weight[0], pooling.features.bias[0]).mT)
    torch.testing.assert_close(pooling.batch_norm.running_mean[0], plain.running_mean)
    torch.testing.assert_close(pooling.batch_norm.running_var[0], plain.running_var)


def test_scores_are_positive(draw_tokens: Any, disturbed: Any) -> None:
    maps = disturbed(DELFPooling(DIM)).attention(draw_tokens(2, 6, DIM))
    assert maps.shape == (1, 2, 1, 6)
    assert bool((maps > 0).all())


def test_stacked_trials_are_those_of_each_alone(draw_tokens: Any, disturbed: Any, check_trials: Any) -> None:
    check_trials([disturbed(DELFPooling(DIM), seed) for seed in range(3)], draw_tokens(2, 7, DIM))


@pytest.mark.parametrize(("dim", "published"), [(384, 533_993), (768, 1_361_897), (1024, 2_077_673)])
def test_it_has_the_published_parameters(dim: int, published: int, count_with_head: Any) -> None:
    assert count_with_head(lambda: DELFPooling(dim)) == published


def test_weights_start_as_normal_noise_by_the_number_of_outputs() -> None:
    torch.manual_seed(0)
    pooling = DELFPooling(512)
    assert pooling.features.weight.std().item() == pytest.approx(1 / 16, rel=0.02)
    assert pooling.score.weight.std().item() == pytest.approx(2**0.5, rel=0.1)
    assert pooling.features.bias is not None
    assert pooling.features.bias.abs().max().item() == pytest.approx(512**-0.5, rel=0.05)


def test_one_token_is_too_little_to_train_on() -> None:
    with pytest.raises(UserError, match="batch norm needs two images or more"):
        DELFPooling(DIM)(torch.randn(1, 1, DIM))

"""Batch norm without parameters, held against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from configs import UserError
from probe.stacked import BatchNorm, TokenBatchNorm, stack
from probe.stacked.statistics import batch_statistics

EPS = 1e-3
WIDTH = 6


@pytest.fixture
def references() -> list[nn.BatchNorm1d]:
    """torch's own, one for each of three trials."""
    return [nn.BatchNorm1d(WIDTH, eps=EPS, affine=False) for _ in range(3)]


def _stacked() -> BatchNorm:
    return stack([BatchNorm(WIDTH, EPS) for _ in range(3)])


def _values(batch: int, seed: int, trials: int = 3) -> torch.Tensor:
    drawn = torch.Generator().manual_seed(seed)
    return 2 + 3 * torch.randn(trials, batch, WIDTH, generator=drawn)


def test_each_trial_is_normalised_by_its_own_batch(references: list[nn.BatchNorm1d]) -> None:
    values = _values(8, seed=0)
    wanted = torch.stack([norm(values[k]) for k, norm in enumerate(references)])
    torch.testing.assert_close(_stacked()(values), wanted)


def test_gradients_flow_through_the_statistics(references: list[nn.BatchNorm1d]) -> None:
    values, direction = _values(8, seed=0).requires_grad_(), _values(8, seed=1)
    (found,) = torch.autograd.grad((_stacked()(values) * direction).sum(), values)
    plain = torch.stack([norm(values[k]) for k, norm in enumerate(references)])
    (wanted,) = torch.autograd.grad((plain * direction).sum(), values)
    torch.testing.assert_close(found, wanted)


def test_running_statistics_are_kept_as_torch_keeps_them(references: list[nn.BatchNorm1d]) -> None:
    ours = _stacked()
    for seed, batch in enumerate((8, 2, 5)):
        values = _values(batch, seed)
        ours(values)
        for k, norm in enumerate(references):
            norm(values[k])
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(
            getattr(ours, name), torch.stack([getattr(norm, name) for norm in references])
        )


def test_evaluation_uses_the_running_statistics_and_leaves_them_alone(
    references: list[nn.BatchNorm1d],
) -> None:
    ours = _stacked()
    ours(_values(8, seed=0))
    for k, norm in enumerate(references):
        norm(_values(8, seed=0)[k])
    before = ours.running_mean.clone()
    values = _values(1, seed=1)
    wanted = torch.stack([norm.eval()(values[k]) for k, norm in enumerate(references)])
    torch.testing.assert_close(ours.eval()(values), wanted)
    assert torch.equal(ours.running_mean, before)


def test_values_that_all_trials_share_reach_every_trial(references: list[nn.BatchNorm1d]) -> None:
    ours, values = _stacked(), _values(8, seed=0, trials=1)
    torch.testing.assert_close(ours(values), references[0](values[0]).unsqueeze(0))  # once, for all
    torch.testing.assert_close(ours.running_var, references[0].running_var.expand(3, -1))


def test_training_on_one_image_is_refused() -> None:
    with pytest.raises(UserError, match="two images or more"):
        _stacked()(_values(1, seed=0))


def _normed(norm: TokenBatchNorm, tokens: torch.Tensor) -> torch.Tensor:
    scale, shift = norm.scale_and_shift(tokens)
    return tokens * scale + shift


def test_tokens_are_normalised_over_images_and_tokens(references: list[nn.BatchNorm1d]) -> None:
    ours = stack([TokenBatchNorm(WIDTH, EPS) for _ in range(3)])
    tokens = 2 + 3 * torch.randn(4, 5, WIDTH)
    wanted = references[0](tokens.flatten(0, 1)).view_as(tokens)
    torch.testing.assert_close(_normed(ours, tokens), wanted)
    torch.testing.assert_close(ours.running_var, references[0].running_var.expand(3, -1))
    torch.testing.assert_close(
        _normed(ours.eval(), tokens), references[0].eval()(tokens.flatten(0, 1)).view_as(tokens)
    )


def test_statistics_of_tokens_far_from_zero_keep_their_precision() -> None:
    tokens = 1000 + torch.randn(64, 49, WIDTH, generator=torch.Generator().manual_seed(0))
    norm = TokenBatchNorm(WIDTH, EPS)
    norm.scale_and_shift(tokens)
    wanted = tokens.double().flatten(0, 1).var(dim=0)
    torch.testing.assert_close(norm.running_var[0].double(), 0.9 + 0.1 * wanted, rtol=1e-4, atol=0)


def test_statistics_of_bfloat16_tokens_are_in_float32() -> None:
    tokens = 3 + torch.randn(64, 49, WIDTH, generator=torch.Generator().manual_seed(0)).bfloat16()
    norm = TokenBatchNorm(WIDTH, EPS)
    scale, _ = norm.scale_and_shift(tokens)
    assert scale.dtype == torch.float32
    torch.testing.assert_close(norm.running_mean[0], 0.1 * tokens.float().mean(dim=(0, 1)))


def test_statistics_of_bfloat16_tokens_of_several_trials_are_in_float32() -> None:
    tokens = 30 + torch.randn(2, 64, 49, WIDTH, generator=torch.Generator().manual_seed(0)).bfloat16()
    mean, variance, _ = batch_statistics(tokens)
    torch.testing.assert_close(mean.squeeze(), tokens.float().mean(dim=(1, 2)))
    torch.testing.assert_close(variance.squeeze(), tokens.float().var(dim=(1, 2), correction=0))

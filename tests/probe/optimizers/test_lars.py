"""LARS against its formula, written out in float64, and each trial alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch

from probe.optimizers import LARS

Stepped = Callable[..., dict[str, torch.Tensor]]


@pytest.fixture
def one_stepped(stepped: Stepped) -> Callable[..., torch.Tensor]:
    """One trial's tensor after a LARS step for each gradient."""

    def step(
        weights: torch.Tensor,
        gradients: list[torch.Tensor],
        lr: float,
        momentum: float,
        weight_decay: float,
    ) -> torch.Tensor:
        found = stepped(
            partial(LARS, momentum=momentum),
            {"it": weights.unsqueeze(0)},
            [{"it": gradient.unsqueeze(0)} for gradient in gradients],
            torch.full((len(gradients), 1), lr, dtype=weights.dtype),
            torch.tensor([weight_decay], dtype=weights.dtype),
        )
        return found["it"][0]

    return step


def by_formula(
    weights: np.ndarray, gradients: list[np.ndarray], lr: float, momentum: float, weight_decay: float
) -> np.ndarray:
    velocity = np.zeros_like(weights)
    for gradient in gradients:
        direction = gradient
        if weights.ndim > 1:
            direction = gradient + weight_decay * weights
            direction = 0.001 * np.sqrt((weights**2).sum()) / np.sqrt((direction**2).sum()) * direction
        velocity = momentum * velocity + direction
        weights = weights - lr * velocity
    return weights


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 4), (1, 1), (6,)])
@pytest.mark.parametrize(
    ("lr", "momentum", "weight_decay"), [(1.6, 0.9, 0.0), (0.1, 0.9, 0.05), (3.0, 0.0, 0.5)]
)
def test_several_steps_follow_the_formula(
    one_stepped: Callable[..., torch.Tensor],
    shape: tuple[int, ...],
    lr: float,
    momentum: float,
    weight_decay: float,
) -> None:
    rng = np.random.default_rng(len(shape))
    weights = rng.normal(size=shape)
    gradients = [rng.normal(size=shape) for _ in range(6)]
    found = one_stepped(
        torch.from_numpy(weights), [torch.from_numpy(g) for g in gradients], lr, momentum, weight_decay
    )
    expected = by_formula(weights, gradients, lr, momentum, weight_decay)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-14)


def test_trials_take_the_steps_that_each_takes_alone(check_trials: Callable[..., None]) -> None:
    check_trials(LARS)


def test_the_size_of_a_gradient_does_not_change_the_step_of_a_matrix(
    one_stepped: Callable[..., torch.Tensor],
) -> None:
    weights, gradient = torch.ones(2, 2, dtype=torch.float64), torch.ones(2, 2, dtype=torch.float64)
    small = one_stepped(weights, [1e-3 * gradient], 1.0, 0.0, 0.0)
    large = one_stepped(weights, [1e3 * gradient], 1.0, 0.0, 0.0)
    torch.testing.assert_close(small, large)
    torch.testing.assert_close(small, weights - 0.001)


def test_a_bias_takes_the_plain_step_and_does_not_decay(one_stepped: Callable[..., torch.Tensor]) -> None:
    found = one_stepped(torch.tensor([1.0, 2.0]), [torch.tensor([0.5, 0.0])], 0.1, 0.9, 0.7)
    torch.testing.assert_close(found, torch.tensor([0.95, 2.0]))


def test_zero_weights_take_the_unscaled_step(one_stepped: Callable[..., torch.Tensor]) -> None:
    gradient = torch.tensor([[1.0, -2.0]])
    torch.testing.assert_close(one_stepped(torch.zeros(1, 2), [gradient], 0.5, 0.9, 0.1), -0.5 * gradient)


@pytest.mark.parametrize("start", [0.0, 3.0])
def test_a_zero_gradient_leaves_weights_as_they_are(
    one_stepped: Callable[..., torch.Tensor], start: float
) -> None:
    weights = torch.full((2, 2), start)
    assert torch.equal(one_stepped(weights, [torch.zeros(2, 2)] * 2, 1.0, 0.9, 0.0), weights)


def test_momentum_goes_on_unscaled_through_a_zero_gradient(
    one_stepped: Callable[..., torch.Tensor],
) -> None:
    weights, gradient = torch.ones(2, 2), torch.ones(2, 2)
    found = one_stepped(weights, [gradient, torch.zeros(2, 2)], 1.0, 0.5, 0.0)
    torch.testing.assert_close(found, weights - 0.001 * 1.5)


def test_a_zero_gradient_of_one_trial_leaves_the_scale_of_the_others_alone(stepped: Stepped) -> None:
    weights = {"it": torch.ones(2, 2, 2)}
    gradient = {"it": torch.stack([torch.zeros(2, 2), torch.full((2, 2), 7.0)])}
    found = stepped(LARS, weights, [gradient], torch.ones(1, 2), torch.zeros(2))["it"]
    torch.testing.assert_close(found, torch.stack([torch.ones(2, 2), torch.full((2, 2), 0.999)]))

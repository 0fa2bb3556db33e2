"""LARS against its formula, written out in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from probe.lars import LARS


def stepped(
    weights: torch.Tensor, gradients: list[torch.Tensor], lr: float, momentum: float, weight_decay: float
) -> torch.Tensor:
    """`weights` after one LARS step for each of `gradients`."""
    parameter = torch.nn.Parameter(weights.clone())
    optimizer = LARS([parameter], lr, momentum=momentum, weight_decay=weight_decay)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    return parameter.detach()


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
    shape: tuple[int, ...], lr: float, momentum: float, weight_decay: float
) -> None:
    rng = np.random.default_rng(len(shape))
    weights = rng.normal(size=shape)
    gradients = [rng.normal(size=shape) for _ in range(6)]
    found = stepped(
        torch.from_numpy(weights), [torch.from_numpy(g) for g in gradients], lr, momentum, weight_decay
    )
    expected = by_formula(weights, gradients, lr, momentum, weight_decay)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-14)


def test_the_size_of_a_gradient_does_not_change_the_step_of_a_matrix() -> None:
    weights, gradient = torch.ones(2, 2, dtype=torch.float64), torch.ones(2, 2, dtype=torch.float64)
    small = stepped(weights, [1e-3 * gradient], 1.0, 0.0, 0.0)
    large = stepped(weights, [1e3 * gradient], 1.0, 0.0, 0.0)
    torch.testing.assert_close(small, large)
    torch.testing.assert_close(small, weights - 0.001)


def test_a_bias_takes_the_plain_step_and_does_not_decay() -> None:
    found = stepped(torch.tensor([1.0, 2.0]), [torch.tensor([0.5, 0.0])], 0.1, 0.9, 0.7)
    torch.testing.assert_close(found, torch.tensor([0.95, 2.0]))


def test_zero_weights_take_the_unscaled_step() -> None:
    gradient = torch.tensor([[1.0, -2.0]])
    torch.testing.assert_close(stepped(torch.zeros(1, 2), [gradient], 0.5, 0.9, 0.1), -0.5 * gradient)


@pytest.mark.parametrize("start", [0.0, 3.0])
def test_a_zero_gradient_leaves_weights_as_they_are(start: float) -> None:
    weights = torch.full((2, 2), start)
    assert torch.equal(stepped(weights, [torch.zeros(2, 2)] * 2, 1.0, 0.9, 0.0), weights)


def test_momentum_goes_on_unscaled_through_a_zero_gradient() -> None:
    weights, gradient = torch.ones(2, 2), torch.ones(2, 2)
    found = stepped(weights, [gradient, torch.zeros(2, 2)], 1.0, 0.5, 0.0)
    torch.testing.assert_close(found, weights - 0.001 * 1.5)


def test_a_parameter_without_a_gradient_stays() -> None:
    moved, left = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    moved.grad = torch.ones(2)
    LARS([moved, left], 0.1).step()
    assert torch.equal(left, torch.ones(2))
    torch.testing.assert_close(moved.detach(), torch.full((2,), 0.9))

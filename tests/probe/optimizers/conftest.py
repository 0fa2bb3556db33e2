"""Tensors to step, and what every optimiser is held against: torch's own, and each trial alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import pytest
import torch

from probe.optimizers import Optimizer

Tensors: TypeAlias = dict[str, torch.Tensor]
Make: TypeAlias = Callable[[dict[str, torch.nn.Parameter], torch.Tensor], Optimizer]
"""(parameters, weight decays (K,)) → the optimiser."""

SHAPES = {"weight": (4, 5), "queries": (2, 3, 4), "scalar": (1, 1), "bias": (6,)}
STEPS = 6


def _drawn(trials: int, seed: int) -> Tensors:
    drawn = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(trials, *shape, dtype=torch.float64, generator=drawn)
        for name, shape in SHAPES.items()
    }


@pytest.fixture
def weights() -> Tensors:
    """Of three trials, float64."""
    return _drawn(3, seed=0)


@pytest.fixture
def gradients() -> list[Tensors]:
    """Of three trials, one of each tensor for each of six steps."""
    return [_drawn(3, seed) for seed in range(1, 1 + STEPS)]


def _one(tensors: Tensors, trial: int) -> Tensors:
    return {name: tensor[trial : trial + 1] for name, tensor in tensors.items()}


@pytest.fixture(scope="session")
def stepped() -> Callable[..., Tensors]:
    """The weights after a step for each of the gradients; learning rates (steps, K), weight decays (K,)."""

    def step(
        make: Make,
        weights: Tensors,
        gradients: Sequence[Tensors],
        rates: torch.Tensor,
        weight_decay: torch.Tensor,
    ) -> Tensors:
        parameters = {name: torch.nn.Parameter(tensor.clone()) for name, tensor in weights.items()}
        optimizer = make(parameters, weight_decay)
        for gradient, lr in zip(gradients, rates, strict=True):
            for name, parameter in parameters.items():
                parameter.grad = gradient[name].clone()
            optimizer.step(lr)
        return {name: parameter.detach() for name, parameter in parameters.items()}

    return step


@pytest.fixture
def check_torch(
    weights: Tensors, gradients: list[Tensors], stepped: Callable[..., Tensors]
) -> Callable[..., None]:
    """One trial takes the steps that one of torch's optimisers takes, with a rate that changes.

    `torch_optimizer(groups, lr)` is given weights and biases apart, each with its weight decay.
    """

    def check(
        make: Make,
        torch_optimizer: Callable[..., torch.optim.Optimizer],
        *,
        lr: float,
        weight_decay: float,
        decay_vectors: bool = True,
    ) -> None:
        own, steps = _one(weights, 0), [_one(gradient, 0) for gradient in gradients]
        rates = lr * torch.linspace(0, 1, STEPS, dtype=torch.float64)
        decay = torch.tensor([weight_decay], dtype=torch.float64)
        found = stepped(make, own, steps, rates.unsqueeze(1), decay)
        plain = {name: torch.nn.Parameter(tensor[0].clone()) for name, tensor in own.items()}
        groups = [
            {"params": [plain[n] for n in plain if n != "bias"], "weight_decay": weight_decay},
            {"params": [plain["bias"]], "weight_decay": weight_decay if decay_vectors else 0.0},
        ]
        reference = torch_optimizer(groups, lr=lr)
        for gradient, rate in zip(steps, rates.tolist(), strict=True):
            for name, parameter in plain.items():
                parameter.grad = gradient[name][0].clone()
            for group in reference.param_groups:
                group["lr"] = rate
            reference.step()
        for name, parameter in plain.items():
            torch.testing.assert_close(found[name][0], parameter.detach(), rtol=1e-12, atol=1e-14)

    return check


@pytest.fixture
def check_trials(
    weights: Tensors, gradients: list[Tensors], stepped: Callable[..., Tensors]
) -> Callable[[Make], None]:
    """Three trials, each with its own rates and weight decay, take the steps that each takes alone."""

    def check(make: Make) -> None:
        factors = torch.linspace(1, 0.1, STEPS, dtype=torch.float64)
        rates = factors.unsqueeze(1) * torch.tensor([0.01, 0.3, 1.6], dtype=torch.float64)
        decay = torch.tensor([0.5, 0.0, 0.05], dtype=torch.float64)
        together = stepped(make, weights, gradients, rates, decay)
        for trial in range(3):
            chosen = slice(trial, trial + 1)
            steps = [_one(gradient, trial) for gradient in gradients]
            alone = stepped(make, _one(weights, trial), steps, rates[:, chosen], decay[chosen])
            for name, tensor in alone.items():
                torch.testing.assert_close(together[name][chosen], tensor, rtol=1e-12, atol=1e-14)

    return check

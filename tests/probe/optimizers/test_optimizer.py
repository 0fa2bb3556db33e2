"""What all optimisers do with their state."""

from __future__ import annotations

import pytest
import torch

from probe.optimizers import LARS, SGD, AdamW, Optimizer

Tensors = dict[str, torch.Tensor]

LR = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
DECAY = torch.tensor([0.0, 0.01, 0.1], dtype=torch.float64)


def _step(optimizer: Optimizer, parameters: dict[str, torch.nn.Parameter], gradients: list[Tensors]) -> None:
    for gradient in gradients:
        for name, parameter in parameters.items():
            parameter.grad = gradient[name].clone()
        optimizer.step(LR)


@pytest.mark.parametrize("kind", [LARS, SGD, AdamW])
def test_steps_go_on_from_a_stored_state_as_if_they_had_never_stopped(
    kind: type[Optimizer], weights: Tensors, gradients: list[Tensors]
) -> None:
    whole = {name: torch.nn.Parameter(tensor.clone()) for name, tensor in weights.items()}
    first = kind(whole, DECAY)
    _step(first, whole, gradients[:3])
    stored = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    resumed = {name: torch.nn.Parameter(parameter.detach().clone()) for name, parameter in whole.items()}
    second = kind(resumed, DECAY)
    second.load_state_dict(stored, first.steps)
    _step(first, whole, gradients[3:])
    _step(second, resumed, gradients[3:])
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize(
    ("kind", "slots"), [(LARS, ["momentum"]), (SGD, ["momentum"]), (AdamW, ["mean", "square"])]
)
def test_the_state_is_named_by_parameter(kind: type[Optimizer], slots: list[str]) -> None:
    parameters = {"classifier.bias": torch.nn.Parameter(torch.ones(3, 2))}
    state = kind(parameters, DECAY).state_dict()
    assert {name: tensor.shape for name, tensor in state.items()} == {
        f"classifier.bias/{slot}": (3, 2) for slot in slots
    }

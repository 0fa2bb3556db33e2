"""A linear layer of each trial, held against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from probe.stacked import Linear, stack


def _same_values(layer: Linear, trial: int) -> nn.Linear:
    _, outputs, inputs = layer.weight.shape
    plain = nn.Linear(inputs, outputs, bias=layer.bias is not None)
    with torch.no_grad():
        plain.weight.copy_(layer.weight[trial])
        if layer.bias is not None:
            plain.bias.copy_(layer.bias[trial])
    return plain


@pytest.mark.parametrize("bias", [True, False])
def test_it_starts_as_torchs_own_from_the_same_seed(bias: bool) -> None:
    torch.manual_seed(3)
    ours = Linear(7, 5, bias=bias)
    torch.manual_seed(3)
    theirs = nn.Linear(7, 5, bias=bias)
    assert torch.equal(ours.weight[0], theirs.weight)
    assert ours.bias is None if not bias else torch.equal(ours.bias[0], theirs.bias)  # type: ignore[index]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(4, 7), (4, 2, 7), (4, 2, 3, 7)])
@pytest.mark.parametrize("shared", [True, False])
def test_each_trial_computes_what_torchs_own_computes(
    bias: bool, shape: tuple[int, ...], shared: bool
) -> None:
    layer = stack([Linear(7, 5, bias=bias) for _ in range(3)])
    values = torch.randn(1 if shared else 3, *shape)
    wanted = [_same_values(layer, k)(values[0 if shared else k]) for k in range(3)]
    torch.testing.assert_close(layer(values), torch.stack(wanted))


@pytest.mark.parametrize("shared", [True, False])
def test_each_trial_gets_its_own_gradient(shared: bool) -> None:
    layer = stack([Linear(7, 5) for _ in range(3)])
    values = torch.randn(1 if shared else 3, 4, 7)
    layer(values).square().sum().backward()
    assert layer.bias is not None
    assert layer.weight.grad is not None
    assert layer.bias.grad is not None
    for k in range(3):
        plain = _same_values(layer, k)
        plain(values[0 if shared else k]).square().sum().backward()
        torch.testing.assert_close(layer.weight.grad[k], plain.weight.grad)
        torch.testing.assert_close(layer.bias.grad[k], plain.bias.grad)

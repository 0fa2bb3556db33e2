"""A layer norm of each trial, held against torch's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from probe.stacked import LayerNorm, stack


@pytest.fixture
def norm() -> LayerNorm:
    """Of three trials, with weights and biases that matter."""
    together = stack([LayerNorm(6, eps=1e-3) for _ in range(3)])
    with torch.no_grad():
        together.weight.normal_()
        together.bias.normal_()
    return together


def test_it_starts_as_torchs_own() -> None:
    values = torch.randn(1, 4, 6)
    torch.testing.assert_close(LayerNorm(6)(values), torch.nn.LayerNorm(6)(values))


@pytest.mark.parametrize("shape", [(4, 6), (4, 5, 6)])
@pytest.mark.parametrize("shared", [True, False])
def test_each_trial_computes_what_torchs_own_computes(
    norm: LayerNorm, shape: tuple[int, ...], shared: bool
) -> None:
    values = 3 + 2 * torch.randn(1 if shared else 3, *shape)
    wanted = [
        F.layer_norm(values[0 if shared else k], (6,), norm.weight[k], norm.bias[k], norm.eps)
        for k in range(3)
    ]
    torch.testing.assert_close(norm(values), torch.stack(wanted))


def test_weight_and_bias_after_the_normalised_values_give_the_norm(norm: LayerNorm) -> None:
    values = torch.randn(1, 4, 6)
    torch.testing.assert_close(norm.affine(norm.normalised(values)), norm(values))

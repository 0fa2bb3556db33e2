"""Clipping gradients against torch's, trial for trial."""

from __future__ import annotations

import torch

from probe.optimizers import clip_gradients

Tensors = dict[str, torch.Tensor]


def _parameters(gradients: Tensors) -> list[torch.nn.Parameter]:
    found = []
    for gradient in gradients.values():
        parameter = torch.nn.Parameter(torch.zeros_like(gradient))
        parameter.grad = gradient.clone()
        found.append(parameter)
    return found


def test_each_trial_is_clipped_by_its_own_norm_as_torch_clips_it(gradients: list[Tensors]) -> None:
    sizes = torch.tensor([0.01, 1.0, 100.0], dtype=torch.float64)  # the first trial's norm is below the limit
    scaled = {name: g * sizes.view(-1, *[1] * (g.ndim - 1)) for name, g in gradients[0].items()}
    together = _parameters(scaled)
    clip_gradients(together, 1.0)
    for trial in range(3):
        alone = _parameters({name: gradient[trial] for name, gradient in scaled.items()})
        torch.nn.utils.clip_grad_norm_(alone, 1.0)
        for ours, theirs in zip(together, alone, strict=True):
            assert ours.grad is not None
            torch.testing.assert_close(ours.grad[trial], theirs.grad, rtol=1e-12, atol=1e-14)


def test_small_gradients_are_not_scaled_up(gradients: list[Tensors]) -> None:
    parameters = _parameters(gradients[0])
    clip_gradients(parameters, 1000.0)
    for parameter, gradient in zip(parameters, gradients[0].values(), strict=True):
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, gradient)

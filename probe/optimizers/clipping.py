"""Clipping gradients by each trial's own norm."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from probe.optimizers.optimizer import per_trial, trial_norms


@torch.no_grad()
def clip_gradients(parameters: Iterable[torch.nn.Parameter], largest: float) -> None:
    """Scale each trial's gradients so that the norm of all of them together is at most `largest`."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    factor = (largest / (trial_norms(gradients) + 1e-6)).clamp(max=1.0)  # as clip_grad_norm_ has it
    for gradient in gradients:
        gradient.mul_(per_trial(factor, gradient))

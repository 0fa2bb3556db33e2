"""The learning rates of a stack's trials, step by step, where its parameters are."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from probe.schedule import warmup_cosine
from probe.setting import TrainingSetting

STEPS = 256
"""Copied to the device at a time: at each copy the host waits until the device has done all before it."""


class LearningRates:
    """Rates of K trials, warmed up and annealed as their settings say."""

    def __init__(self, settings: Sequence[TrainingSetting], device: torch.device) -> None:
        self._settings, self._device = settings, device
        self._first = 0
        self._last = max(setting.steps_per_epoch * setting.recipe.epochs for setting in settings)
        self._made = torch.empty(0, len(settings), device=device)

    def at(self, step: int) -> torch.Tensor:
        """(K,) float32 rates of `step`, from 0, on the device."""
        if not self._first <= step < self._first + len(self._made):
            self._first = step
            steps = range(step, max(step + 1, min(step + STEPS, self._last)))
            rows = [[rate(setting, place) for setting in self._settings] for place in steps]
            self._made = torch.tensor(rows, device=self._device)
        return self._made[step - self._first]


def rate(setting: TrainingSetting, step: int) -> float:
    """The learning rate of a setting at `step`, from 0."""
    recipe = setting.recipe
    factor = warmup_cosine(
        step,
        steps_per_epoch=setting.steps_per_epoch,
        epochs=recipe.epochs,
        warmup_epochs=recipe.warmup_epochs,
    )
    return setting.lr * factor

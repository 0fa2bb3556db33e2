"""A trial's setting and its learning rate."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from configs import RecipeConfig
from probe import TrainingSetting
from probe.setting import scaled_lr


@pytest.mark.parametrize(("batch_size", "lr"), [(4096, 1.6), (256, 0.1), (128, 0.05)])
def test_a_learning_rate_per_256_images_follows_the_batch(
    recipe: Callable[..., RecipeConfig], batch_size: int, lr: float
) -> None:
    assert scaled_lr(0.1, recipe(batch_size=batch_size, lr_per_256=True)) == pytest.approx(lr)


@pytest.mark.parametrize("batch_size", [64, 128, 512])
def test_any_other_learning_rate_does_not_depend_on_the_batch(
    recipe: Callable[..., RecipeConfig], batch_size: int
) -> None:
    assert scaled_lr(0.1, recipe(batch_size=batch_size, lr_per_256=False)) == 0.1


def test_a_setting_cannot_be_changed_under_way(setting: Callable[..., TrainingSetting]) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setting().lr = 1.0  # type: ignore[misc]

"""What decides a trial's training beside the data."""

from __future__ import annotations

from dataclasses import dataclass

from configs import RecipeConfig


@dataclass(frozen=True)
class TrainingSetting:
    """One trial's. `lr` is final: batch scaling is done."""

    recipe: RecipeConfig
    """With the batch size, epochs and warm-up that are really used; its grids are not looked at."""
    lr: float
    weight_decay: float
    seed: int
    steps_per_epoch: int


def scaled_lr(lr: float, recipe: RecipeConfig) -> float:
    """The learning rate of the steps, for one that is given as the recipe gives them."""
    return lr * recipe.batch_size / 256 if recipe.lr_per_256 else lr

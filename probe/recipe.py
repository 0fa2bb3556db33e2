"""A named recipe, adapted to the run."""

from __future__ import annotations

from configs import RecipeConfig, UserError, load_recipe
from probe.options import FitOptions

STEPS_PER_EPOCH = 10
"""A recipe's batch is cut so that an epoch has so many steps at least: schedules count in steps."""

SMALLEST_CUT = 8
"""A batch is not cut below this, whatever the number of steps: batch norm needs some images."""


def resolved_recipe(options: FitOptions, images: int) -> RecipeConfig:
    """The recipe that `options` name, with their changes and a batch size that `images` allow.

    A shortened training has a warm-up shortened alike. Raises `UserError` for a batch of one image.
    """
    named = load_recipe(options.recipe)
    epochs = options.epochs or named.epochs
    batch_size = min(images, options.batch_size or _cut(named.batch_size, images))
    if batch_size < 2:
        raise UserError(
            f"a batch of {batch_size}: batch norm needs two images or more in a batch "
            f"(the training images are {images:,})"
        )
    changes = {
        "epochs": epochs,
        "warmup_epochs": named.warmup_epochs * min(1.0, epochs / named.epochs),
        "batch_size": batch_size,
        "lr": options.lr or named.lr,
        "weight_decay": options.weight_decay or named.weight_decay,
    }
    return RecipeConfig(**{**named.model_dump(), **changes})


def _cut(batch_size: int, images: int) -> int:
    """`batch_size`, or the largest power of two that leaves enough steps."""
    allowed = max(SMALLEST_CUT, images // STEPS_PER_EPOCH)
    return min(batch_size, 1 << (allowed.bit_length() - 1))


def cut_notice(options: FitOptions, recipe: RecipeConfig, images: int) -> str | None:
    """What to say when the batch is smaller than was asked for."""
    wanted = options.batch_size or load_recipe(options.recipe).batch_size
    if recipe.batch_size == wanted:
        return None
    return f"batch size {recipe.batch_size:,} instead of {wanted:,}: there are {images:,} training images"

"""Recipes adapted to a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from configs import RecipeConfig, UserError, load_recipe, names
from probe import FitOptions
from probe.recipe import cut_notice, resolved_recipe


def resolved(images: int, **options: Any) -> RecipeConfig:
    return resolved_recipe(FitOptions(cache=Path("any"), **options), images)


def notice(images: int, **options: Any) -> str | None:
    chosen = FitOptions(cache=Path("any"), **options)
    return cut_notice(chosen, resolved_recipe(chosen, images), images)


@pytest.mark.parametrize(
    ("images", "batch_size"),
    [(1_281_167, 4096), (40_960, 4096), (40_959, 2048), (1437, 128), (1280, 128), (1279, 64), (100, 8)],
)
def test_the_paper_recipe_cuts_its_batch_to_a_power_of_two(images: int, batch_size: int) -> None:
    assert resolved(images, recipe="paper").batch_size == batch_size


@pytest.mark.parametrize("images", [80, 81, 100, 255, 257, 1437, 5000, 40_959, 1_281_167])
@pytest.mark.parametrize("recipe", names("recipes"))
def test_an_epoch_has_ten_steps_or_more(recipe: str, images: int) -> None:
    assert images // resolved(images, recipe=recipe).batch_size >= 10


@pytest.mark.parametrize(("images", "batch_size"), [(2, 2), (7, 7), (19, 8), (79, 8)])
def test_a_batch_is_not_cut_below_eight(images: int, batch_size: int) -> None:
    assert resolved(images, recipe="paper").batch_size == batch_size


def test_a_cut_batch_is_announced() -> None:
    expected = "batch size 128 instead of 4,096: there are 1,437 training images"
    assert notice(1437, recipe="paper") == expected


def test_an_uncut_batch_is_not_announced() -> None:
    assert notice(1_281_167, recipe="paper") is None


@pytest.mark.parametrize("batch_size", [3, 1000, 1437])
def test_a_batch_size_that_is_asked_for_is_not_cut(batch_size: int) -> None:
    assert resolved(1437, recipe="paper", batch_size=batch_size).batch_size == batch_size
    assert notice(1437, recipe="paper", batch_size=batch_size) is None


def test_a_batch_size_beyond_the_split_becomes_the_split_and_is_announced() -> None:
    assert resolved(100, recipe="paper", batch_size=5000).batch_size == 100
    assert notice(100, recipe="paper", batch_size=5000) == (
        "batch size 100 instead of 5,000: there are 100 training images"
    )


@pytest.mark.parametrize(("images", "batch_size"), [(100, 1), (1, None), (1, 8), (0, None)])
def test_a_batch_of_fewer_than_two_images_is_refused(images: int, batch_size: int | None) -> None:
    with pytest.raises(UserError, match="batch norm needs two images or more"):
        resolved(images, batch_size=batch_size)


@pytest.mark.parametrize(
    ("epochs", "warmup"), [(None, 10.0), (90, 10.0), (45, 5.0), (9, 1.0), (1, 1 / 9), (180, 10.0)]
)
def test_a_shorter_training_warms_up_shorter_and_a_longer_one_no_longer(
    epochs: int | None, warmup: float
) -> None:
    found = resolved(1437, recipe="paper", epochs=epochs)
    assert found.warmup_epochs == pytest.approx(warmup)
    assert found.epochs == (epochs or 90)


def test_learning_rates_and_weight_decays_that_are_given_replace_the_recipes() -> None:
    found = resolved(1437, recipe="paper", lr=(0.7, 0.8), weight_decay=(0.01,))
    assert (found.lr, found.weight_decay) == ((0.7, 0.8), (0.01,))


def test_a_weight_decay_of_zero_replaces_the_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    decaying = RecipeConfig(**{**load_recipe("fast").model_dump(), "weight_decay": 0.3})
    monkeypatch.setattr("probe.recipe.load_recipe", lambda name: decaying)
    assert resolved(1437).weight_decay == (0.3,)
    assert resolved(1437, weight_decay=(0.0,)).weight_decay == (0,)


def test_nothing_else_of_the_recipe_changes() -> None:
    changed = {"batch_size", "epochs", "warmup_epochs"}
    named = load_recipe("paper").model_dump(exclude=changed)
    assert resolved(1437, recipe="paper", epochs=3).model_dump(exclude=changed) == named


def test_an_unknown_recipe_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match="unknown recipe 'papers'; did you mean paper"):
        resolved(1437, recipe="papers")

"""From options to the trials that they span."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from configs import RecipeConfig, UserError
from probe import FitOptions
from probe.data import open_probe_data
from probe.grid import something_to_choose, trial_grid
from probe.trial_spec import TrainingImages, TrialSpec, label, varied

Grid = Callable[..., list[TrialSpec]]


@pytest.fixture(scope="module")
def store(make_store: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Blocks 1, 2 and 3 of four."""
    return make_store(tmp_path_factory.mktemp("stores") / "deep", blocks=(1, 2, 3))


@pytest.fixture
def grid(options: Callable[..., FitOptions], recipe: Callable[..., RecipeConfig]) -> Grid:
    """The trials of options, under a recipe of learning rate 0.3 and weight decays 0 and 0.2."""

    def spanned(**changes: Any) -> list[TrialSpec]:
        chosen = options(**{"lr": (), **changes})
        return trial_grid(
            chosen, recipe(lr=0.3, weight_decay=[0.0, 0.2]), open_probe_data(chosen, torch.device("cpu"))
        )

    return spanned


def test_without_options_the_recipe_is_the_grid(grid: Grid) -> None:
    assert grid(probe=("lp",)) == [
        TrialSpec("lp", (3,), "pre", TrainingImages(), 0.3, decay, 0) for decay in (0.0, 0.2)
    ]


def test_options_replace_the_recipes_values(grid: Grid) -> None:
    found = grid(lr=(0.1, 0.2), weight_decay=(0.5,))
    assert [spec.choice for spec in found] == [(0.1, 0.5), (0.2, 0.5)]


@pytest.mark.parametrize(
    ("changes", "field", "values"),
    [
        ({"probe": ("lp", "ep4", "ep2+cls")}, "probe", ["lp", "ep4", "ep2+cls"]),
        ({"seed": (0, 5)}, "seed", [0, 5]),
        ({"tokens": ("pre", "post")}, "tokens", ["pre", "post"]),
        ({"block": ("3", "1")}, "blocks", [(3,), (1,)]),
        ({"shots": (1, 5)}, "images", [TrainingImages(shots=1), TrainingImages(shots=5)]),
    ],
)
def test_each_value_of_an_option_is_a_trial(
    grid: Grid, changes: dict[str, Any], field: str, values: list[Any]
) -> None:
    assert [getattr(spec, field) for spec in grid(weight_decay=(0.0,), **changes)] == values


def test_options_multiply(grid: Grid) -> None:
    found = grid(
        probe=("lp", "ep4"),
        lr=(0.1, 0.2, 0.3),
        seed=(0, 1),
        block=("1", "2"),
        tokens=("pre", "post"),
        shots=(2,),
        fraction=(0.5,),
        draws=3,
    )
    assert len(found) == len(set(found)) == 2 * 3 * 2 * 2 * 2 * 2 * (2 * 3)


@pytest.mark.parametrize(
    ("words", "blocks"),
    [
        ((), [(3,)]),
        (("all",), [(1,), (2,), (3,)]),
        (("-1", "-3"), [(3,), (1,)]),
        (("2",), [(2,)]),
    ],
)
def test_blocks_are_named_by_number_from_either_end_or_all(
    grid: Grid, words: tuple[str, ...], blocks: list[tuple[int, ...]]
) -> None:
    assert [spec.blocks for spec in grid(block=words, weight_decay=(0.0,))] == blocks


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("4",), "blocks 0 to 3"),
        (("-5",), "blocks 0 to 3"),
        (("last",), "numbers such as 5,11, or all"),
        (("1", "all"), "numbers such as 5,11, or all"),
        (("1", "-3"), "name each block once"),
    ],
)
def test_blocks_that_there_are_not_are_refused(grid: Grid, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        grid(block=words)


@pytest.mark.parametrize("combination", ["concat", "mean"])
def test_combined_blocks_are_one_trial(grid: Grid, combination: str) -> None:
    (spec,) = grid(block=("1", "3"), combine=combination, weight_decay=(0.0,))
    assert spec.blocks == (1, 3)


def test_every_draw_of_every_part_is_a_trial(grid: Grid) -> None:
    found = grid(shots=(1, 2), fraction=(0.5,), draws=2, weight_decay=(0.0,))
    assert [spec.images for spec in found] == [
        TrainingImages(shots=1, draw=0),
        TrainingImages(shots=1, draw=1),
        TrainingImages(shots=2, draw=0),
        TrainingImages(shots=2, draw=1),
        TrainingImages(fraction=0.5, draw=0),
        TrainingImages(fraction=0.5, draw=1),
    ]


def test_draws_of_all_images_are_refused(grid: Grid) -> None:
    with pytest.raises(UserError, match="--draws counts random draws of --shots or --fraction"):
        grid(draws=3)


@pytest.mark.parametrize("option", ["lr", "weight_decay"])
def test_learning_rates_and_weight_decays_are_chosen_among(grid: Grid, option: str) -> None:
    one = {"lr": (0.1,), "weight_decay": (0.0,), "seed": (0, 1), "probe": ("lp", "ep4")}
    assert not something_to_choose(grid(**one))
    assert something_to_choose(grid(**{**one, option: (0.1, 0.2)}))


def test_a_trial_is_named_by_what_differs(grid: Grid) -> None:
    found = grid(probe=("lp", "ep4"), lr=(0.1, 0.25), block=("1", "2"), shots=(5,))
    names = [label(spec, varied(found)) for spec in found]
    assert len(set(names)) == len(found)
    assert names[0] == "lp[blocks=1,lr=0.1,weight_decay=0]"


def test_a_trial_that_differs_in_its_probe_alone_has_the_probes_name(grid: Grid) -> None:
    found = grid(probe=("lp", "ep4"), weight_decay=(0.0,))
    assert [label(spec, varied(found)) for spec in found] == ["lp", "ep4"]


def test_trials_whose_rates_differ_a_little_have_names_of_their_own(grid: Grid) -> None:
    found = grid(lr=(0.1, 0.10000001), weight_decay=(0.0,))
    assert len({label(spec, varied(found)) for spec in found}) == 2

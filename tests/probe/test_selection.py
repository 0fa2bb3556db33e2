"""Choosing among settings, and what is said of the chosen one."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

import pytest

from probe.outcome import EpochRow, Outcome
from probe.selection import answers
from probe.trial_spec import TrainingImages, TrialSpec

SPEC = TrialSpec("ep4", (3,), "pre", TrainingImages(), lr=0.1, weight_decay=0.0, seed=0)


def _outcome(
    held_out: float | None, top1: float | Sequence[float | None] | None, *, pruned: bool = False, **spec: Any
) -> Outcome:
    """A trial whose last epoch has these accuracies; several of `top1` are of as many epochs."""
    own = dataclasses.replace(SPEC, **spec)
    measured = list(top1) if isinstance(top1, Sequence) else [top1]
    name = f"{own.probe} {own.blocks} {own.lr} {own.weight_decay} {own.seed} {own.images}"
    epochs = [
        EpochRow(name, number, 1.0, held_out, held_out, value, None if value is None else value + 1, 10.0)
        for number, value in enumerate(measured, 1)
    ]
    return Outcome(own, name, own.lr, 8, 100, epochs, pruned=pruned)


def test_the_setting_that_is_best_on_held_out_images_is_chosen() -> None:
    worse, better = _outcome(60.0, 99.0, lr=0.1), _outcome(70.0, 50.0, lr=0.2)
    (answer,) = answers([worse, better])
    assert (answer.lr, answer.held_out_top1, answer.top1, answer.top5) == (0.2, 70.0, 50.0, 51.0)
    assert answer.trials == (better.name,)


def test_a_setting_is_chosen_by_its_mean_over_seeds() -> None:
    one_lucky_seed = [_outcome(held, 10.0, lr=0.1, seed=seed) for seed, held in enumerate((90.0, 10.0))]
    steady = [_outcome(held, 20.0, lr=0.2, seed=seed) for seed, held in enumerate((60.0, 58.0))]
    (answer,) = answers([*one_lucky_seed, *steady])
    assert (answer.lr, answer.held_out_top1, answer.repeats) == (0.2, 59.0, 2)


def test_weight_decays_are_chosen_too() -> None:
    (answer,) = answers([_outcome(50.0, 1.0, weight_decay=0.0), _outcome(51.0, 2.0, weight_decay=0.1)])
    assert answer.weight_decay == 0.1


def test_the_first_of_equal_settings_is_chosen() -> None:
    (answer,) = answers([_outcome(70.0, 1.0, lr=lr) for lr in (0.2, 0.1, 0.3)])
    assert answer.lr == 0.2


@pytest.mark.parametrize(
    "other",
    [
        {"probe": "lp"},
        {"blocks": (1,)},
        {"tokens": "post"},
        {"images": TrainingImages(shots=5)},
        {"images": TrainingImages(fraction=0.1)},
    ],
)
def test_probes_blocks_tokens_and_numbers_of_images_are_questions_of_their_own(other: dict[str, Any]) -> None:
    found = answers([_outcome(60.0, 50.0, lr=0.1), _outcome(70.0, 40.0, lr=0.2, **other)])
    assert [answer.lr for answer in found] == [0.1, 0.2]


def test_without_held_out_images_each_setting_is_a_question_of_its_own() -> None:
    found = answers([_outcome(None, 50.0, lr=0.1), _outcome(None, 40.0, lr=0.2)])
    assert [(answer.top1, answer.held_out_top1) for answer in found] == [(50.0, None), (40.0, None)]


def test_a_pruned_setting_is_not_chosen() -> None:
    (answer,) = answers([_outcome(99.0, None, lr=0.1, pruned=True), _outcome(60.0, 50.0, lr=0.2)])
    assert answer.lr == 0.2


def test_accuracies_are_means_over_seeds_with_their_standard_deviation() -> None:
    (answer,) = answers([_outcome(None, top1, seed=seed) for seed, top1 in enumerate((50.0, 52.0, 57.0))])
    assert answer.top1 == 53.0
    assert answer.top1_deviation == statistics.stdev([50.0, 52.0, 57.0])
    assert answer.repeats == 3


def test_draws_are_repeats_of_one_question() -> None:
    drawn = [_outcome(None, 50.0 + draw, images=TrainingImages(shots=5, draw=draw)) for draw in range(3)]
    (answer,) = answers(drawn)
    assert (answer.shots, answer.repeats, answer.top1) == (5, 3, 51.0)


def test_one_repeat_has_no_deviation() -> None:
    (answer,) = answers([_outcome(None, 50.0)])
    assert (answer.top1_deviation, answer.best_top1_deviation) == (None, None)


def test_the_best_epoch_is_told_apart_from_the_last() -> None:
    (answer,) = answers([_outcome(None, [40.0, 55.0, 50.0])])
    assert (answer.top1, answer.best_top1) == (50.0, 55.0)


def test_the_best_is_of_any_setting_and_of_each_seed_its_own() -> None:
    trials = [
        _outcome(70.0, 50.0, lr=0.1, seed=0),
        _outcome(70.0, 52.0, lr=0.1, seed=1),
        _outcome(60.0, [10.0, 58.0, 20.0], lr=0.2, seed=0),
        _outcome(60.0, 44.0, lr=0.2, seed=1),
    ]
    (answer,) = answers(trials)
    assert answer.top1 == 51.0
    assert answer.best_top1 == statistics.fmean([58.0, 52.0])
    assert answer.best_top1_deviation == statistics.stdev([58.0, 52.0])


def test_epochs_that_were_not_measured_are_not_the_best() -> None:
    (answer,) = answers([_outcome(70.0, [None, None, 50.0]), _outcome(60.0, [None, None, 55.0], lr=0.2)])
    assert (answer.top1, answer.best_top1) == (50.0, 55.0)

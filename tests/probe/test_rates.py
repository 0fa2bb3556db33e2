"""A stack's learning rates, step by step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from probe import TrainingSetting
from probe.rates import STEPS, LearningRates
from probe.schedule import warmup_cosine

MakeSetting = Callable[..., TrainingSetting]


@pytest.fixture
def settings(setting: MakeSetting) -> list[TrainingSetting]:
    return [setting(lr=lr, warmup_epochs=2.0, steps_per_epoch=STEPS, epochs=3) for lr in (0.1, 0.7)]


@pytest.mark.parametrize("step", [0, 1, STEPS - 1, STEPS, 2 * STEPS + 3, 3 * STEPS - 1])
def test_each_trial_has_its_own_rate_times_the_schedules_factor(
    settings: list[TrainingSetting], step: int
) -> None:
    factor = warmup_cosine(step, steps_per_epoch=STEPS, epochs=3, warmup_epochs=2.0)
    rates = LearningRates(settings, torch.device("cpu"))
    assert torch.equal(rates.at(step), torch.tensor([0.1 * factor, 0.7 * factor]))


def test_rates_may_be_asked_for_in_any_order(settings: list[TrainingSetting]) -> None:
    rates = LearningRates(settings, torch.device("cpu"))
    late = rates.at(2 * STEPS).clone()
    early = rates.at(7).clone()
    assert torch.equal(rates.at(2 * STEPS), late)
    assert not torch.equal(early, late)


def test_a_schedule_that_is_all_warm_up_ends_with_it(setting: MakeSetting) -> None:
    rates = LearningRates(
        [setting(lr=1.0, warmup_epochs=1.0, steps_per_epoch=4, epochs=1)], torch.device("cpu")
    )
    assert [rates.at(step).item() for step in range(4)] == [0.0, 0.25, 0.5, 0.75]

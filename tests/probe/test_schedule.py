"""The factor on the learning rate, at literal steps."""

from __future__ import annotations

import pytest

from probe.schedule import warmup_cosine


@pytest.mark.parametrize(
    ("step", "factor"),
    [
        (0, 0.0),
        (1, 0.01),
        (50, 0.5),
        (99, 0.99),
        (100, 1.0),
        (300, 0.8535533905932737),  # a quarter of the cosine: (1 + √½) / 2
        (500, 0.5),
        (700, 0.14644660940672624),
        (899, 3.855e-06),  # (π / 800)² / 4
    ],
)
def test_warm_up_is_linear_and_the_rest_is_half_a_cosine(step: int, factor: float) -> None:
    found = warmup_cosine(step, steps_per_epoch=10, epochs=90, warmup_epochs=10)
    assert found == pytest.approx(factor, rel=1e-3, abs=1e-12)


def test_the_middle_of_the_warm_up_is_one_half_inside_an_epoch_too() -> None:
    assert warmup_cosine(1, steps_per_epoch=4, epochs=3, warmup_epochs=0.5) == pytest.approx(0.5)


def test_the_cosine_ends_at_zero() -> None:
    assert warmup_cosine(900, steps_per_epoch=10, epochs=90, warmup_epochs=10) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize(("step", "factor"), [(0, 1.0), (10, 0.5), (20, 0.0)])
def test_without_a_warm_up_the_first_step_is_whole(step: int, factor: float) -> None:
    found = warmup_cosine(step, steps_per_epoch=10, epochs=2, warmup_epochs=0)
    assert found == pytest.approx(factor, abs=1e-15)


def test_the_factor_never_rises_after_the_warm_up() -> None:
    factors = [warmup_cosine(step, steps_per_epoch=7, epochs=5, warmup_epochs=1) for step in range(7, 36)]
    assert factors == sorted(factors, reverse=True)

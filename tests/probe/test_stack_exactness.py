"""A trial inside a stack takes the very steps that it takes alone.

In float64, where another order of summation leaves next to nothing: far less than a mixed-up learning rate,
weight decay, seed, norm or clipping would. (In float32, AdamW lets parameters without effect, such as a bias
before the batch norm, wander by the signs of rounding errors.)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import pytest
import torch

from configs import RecipeConfig, UserError
from probe import TrainingSetting, TrialStack, build_probe, probe_spec
from probe.names import CLOSED_FORM, LINEAR, known_names

MakeRecipe = Callable[..., RecipeConfig]
Settings = list[TrainingSetting]

GRID, CLASSES = (2, 3), 5
WIDTHS = (32, 64, 96)
"""Small ones that the numbers of heads, queries and channels of the known probes divide."""
EPOCHS, STEPS, BATCH = 3, 4, 8


@cache
def _width(name: str) -> int | None:
    """The smallest width that suits a probe; None where it refuses all."""
    for width in WIDTHS:
        try:
            with torch.device("meta"):
                build_probe(name, width, CLASSES, GRID)
        except UserError:
            continue
        return width
    return None


TRAINED = [name for name in known_names() if name not in CLOSED_FORM]
WITH_CLS = [f"{name}+cls" for name in TRAINED if name not in LINEAR and _width(f"{name}+cls")]

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "lars": {"optimizer": "lars", "momentum": 0.9},
    "sgd": {"optimizer": "sgd", "momentum": 0.8, "clip_norm": 0.5, "decay_vectors": False},
    "adamw": {"optimizer": "adamw", "betas": (0.9, 0.95), "clip_norm": 0.5, "classifier_std": 0.01},
}
RATES = {"lars": (5.0, 20.0, 10.0), "sgd": (0.1, 0.3, 0.2), "adamw": (0.001, 0.003, 0.002)}


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(params=OPTIMIZERS)
def settings(request: pytest.FixtureRequest, recipe: MakeRecipe) -> Settings:
    """Three trials: learning rate, weight decay and seed are each one's own."""
    own = recipe(epochs=EPOCHS, warmup_epochs=0.5, batch_size=BATCH, **OPTIMIZERS[request.param])
    trials = zip(RATES[request.param], (0.0, 0.1, 0.3), (7, 8, 9), strict=True)
    return [TrainingSetting(own, lr, decay, seed, STEPS) for lr, decay, seed in trials]


def _started(name: str, settings: Sequence[TrainingSetting]) -> TrialStack:
    width = _width(name)
    assert width is not None, f"add a width that suits {name} to WIDTHS"
    return TrialStack(name, width, CLASSES, settings, torch.device("cpu"), grid=GRID)


def _tokens(name: str, images: int, drawn: torch.Generator) -> torch.Tensor:
    token_set, width = probe_spec(name).token_set, _width(name)
    count = torch.Size(GRID).numel() + (token_set == "all")
    shape = (images, width) if token_set in ("cls", "mean") else (images, count, width)
    return 0.3 + torch.randn(shape, generator=drawn)


def _train(stack: TrialStack, first: int = 0, last: int = EPOCHS) -> torch.Tensor:
    """The losses of every step of the epochs from `first` until before `last`, (steps, K)."""
    losses = []
    for step in range(first * STEPS, last * STEPS):
        drawn = torch.Generator().manual_seed(step)
        labels = torch.randint(CLASSES, (BATCH,), generator=drawn)
        losses.append(stack.step(_tokens(stack.name, BATCH, drawn), labels))
    return torch.stack(losses)


def _logits(stack: TrialStack) -> torch.Tensor:
    return stack.logits(_tokens(stack.name, 6, torch.Generator().manual_seed(99)))


def _assert_same(found: object, wanted: object) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", [*TRAINED, *WITH_CLS])
def test_a_trial_in_a_stack_is_the_trial_alone(name: str, settings: Settings) -> None:
    together = _started(name, settings)
    losses, logits = _train(together), _logits(together)
    for trial, setting in enumerate(settings):
        alone = _started(name, [setting])
        _assert_same(losses[:, trial], _train(alone)[:, 0])
        _assert_same(logits[trial], _logits(alone)[0])
        _assert_same(together.head(trial), alone.head(0))


@pytest.mark.parametrize("changed", ["lr", "weight_decay", "seed"])
def test_each_part_of_a_setting_reaches_its_trial(changed: str, settings: Settings) -> None:
    other = dataclasses.replace(settings[1], **{changed: getattr(settings[2], changed)})
    together = _started("ep32", [settings[1], other])
    _train(together)
    logits = _logits(together)
    assert not torch.allclose(logits[0], logits[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["lp", "ep32", "vit", "cbam"])
def test_trials_that_are_kept_go_on_as_if_nobody_had_left(name: str, settings: Settings) -> None:
    whole, halved = _started(name, settings), _started(name, settings)
    _train(whole)
    _train(halved, last=1)
    halved.keep([2, 0])
    _train(halved, first=1)
    for place, trial in enumerate((2, 0)):
        _assert_same(halved.head(place), whole.head(trial))


@pytest.mark.parametrize("name", ["lp", "ep32", "vit", "cbam"])
def test_a_stack_goes_on_from_its_state(name: str, settings: Settings) -> None:
    whole, stopped, resumed = (_started(name, settings) for _ in range(3))
    _train(whole)
    _train(stopped, last=2)
    resumed.load_state_dict(stopped.state_dict(), steps=2 * STEPS)
    _train(resumed, first=2)
    for trial in range(len(settings)):
        found, wanted = resumed.head(trial), whole.head(trial)
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)

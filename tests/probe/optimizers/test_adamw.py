"""AdamW against torch's, and each trial alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch

from probe.optimizers import AdamW


@pytest.mark.parametrize("decay_vectors", [True, False])
@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.8, 0.95)])
def test_one_trial_takes_the_steps_of_torchs_adamw(
    check_torch: Callable[..., None], betas: tuple[float, float], weight_decay: float, decay_vectors: bool
) -> None:
    check_torch(
        partial(AdamW, betas=betas, decay_vectors=decay_vectors),
        partial(torch.optim.AdamW, betas=betas),
        lr=0.01,
        weight_decay=weight_decay,
        decay_vectors=decay_vectors,
    )


@pytest.mark.parametrize("decay_vectors", [True, False])
def test_trials_take_the_steps_that_each_takes_alone(
    check_trials: Callable[..., None], decay_vectors: bool
) -> None:
    check_trials(partial(AdamW, decay_vectors=decay_vectors))

"""SGD against torch's, and each trial alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch

from probe.optimizers import SGD


@pytest.mark.parametrize("decay_vectors", [True, False])
@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_one_trial_takes_the_steps_of_torchs_sgd(
    check_torch: Callable[..., None], momentum: float, weight_decay: float, decay_vectors: bool
) -> None:
    check_torch(
        partial(SGD, momentum=momentum, decay_vectors=decay_vectors),
        partial(torch.optim.SGD, momentum=momentum),
        lr=0.1,
        weight_decay=weight_decay,
        decay_vectors=decay_vectors,
    )


@pytest.mark.parametrize("decay_vectors", [True, False])
def test_trials_take_the_steps_that_each_takes_alone(
    check_trials: Callable[..., None], decay_vectors: bool
) -> None:
    check_trials(partial(SGD, momentum=0.9, decay_vectors=decay_vectors))

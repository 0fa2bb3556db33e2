"""The learning rate at each step."""

from __future__ import annotations

import math


def warmup_cosine(step: int, *, steps_per_epoch: int, epochs: int, warmup_epochs: float) -> float:
    """Factor on the learning rate: linear from 0 over the warm-up, then half a cosine down to 0.

    Per iteration, as MAE's `util/lr_sched.py` has it: the first step of a warm-up has factor 0.
    """
    epoch = step / steps_per_epoch
    if epoch < warmup_epochs:
        return epoch / warmup_epochs
    done = (epoch - warmup_epochs) / (epochs - warmup_epochs)
    return 0.5 * (1 + math.cos(math.pi * done))

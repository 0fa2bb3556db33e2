"""Which trials train together: as many as memory holds, in the fewest passes over the tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from rich.filesize import decimal

from cache import free_device_memory, free_host_memory
from configs import RecipeConfig, UserError
from probe.cost import ProbeCost

ItemT = TypeVar("ItemT")

TRAINING_SHARE = 0.5
"""Of free memory; the rest is for tokens and others."""

STEP_PEAK = 2.0
"""A backward pass needs about as much again as the forward pass kept."""

OPTIMIZER_TENSORS = {"lars": 1, "sgd": 1, "adamw": 2}


def training_memory(device: torch.device, tokens: int = 0) -> int:
    """Bytes that trials may use unless told otherwise, beside `tokens` bytes that the device will hold."""
    free = free_device_memory(device) if device.type == "cuda" else free_host_memory()
    return int(TRAINING_SHARE * max(0, free - tokens))


def trial_bytes(cost: ProbeCost, recipe: RecipeConfig, batch: int) -> int:
    """Memory of one trial in a stack: parameters, gradients, optimiser, and a step on `batch` images."""
    tensors = 2 + OPTIMIZER_TENSORS[recipe.optimizer]
    return 4 * tensors * cost.parameters + int(STEP_PEAK * cost.activation_bytes * batch)


@dataclass
class _Pass:
    free: int
    items: list[int]


def plan_passes(items: Sequence[ItemT], sizes: Sequence[int], memory: int) -> list[list[ItemT]]:
    """Divide `items` of so many bytes into few passes of at most `memory` bytes each, in their order.

    First fit decreasing: at most 11/9 of the fewest passes, and the fewest where sizes are equal. Raises
    `UserError` where one item alone is too large.
    """
    largest = max(sizes)
    if largest > memory:
        raise UserError(
            f"one trial needs {decimal(largest)} of memory and {decimal(memory)} are allowed: give a smaller "
            "--batch-size or more --training-memory"
        )
    passes: list[_Pass] = []
    for number in sorted(range(len(items)), key=lambda n: -sizes[n]):
        room = next((one for one in passes if one.free >= sizes[number]), None)
        if room is None:
            room = _Pass(memory, [])
            passes.append(room)
        room.free -= sizes[number]
        room.items.append(number)
    return [[items[number] for number in sorted(one.items)] for one in passes]

"""How many images a forward pass takes best, found by trying."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

import torch

from cache import is_out_of_memory
from configs import UserError
from extract.image_loader import ImageBatch
from extract.token_writer import AHEAD

FIRST = 8
LARGEST = 512
"""Beyond it no device is much faster, and decoded images fill the memory that data workers share."""

GROWTH = 1.05
"""Twice the images must be so much faster per image, or the smaller batch is kept."""

AT_ONCE = AHEAD + 2
"""Batches whose tokens a run holds: those that wait, one that is written, one that is computed."""


def fastest_batch_size(seconds: Callable[[int], float], most: int) -> int:
    """The power of two, up to `most`, from which twice as many gain nothing, or do not fit.

    `seconds`: what a batch of so many images takes; where it does not fit, it raises an error of which
    `is_out_of_memory` says so. Raises `UserError` when not even one image fits.
    """
    size = min(FIRST, 1 << (most.bit_length() - 1))
    while (taken := _unless_out_of_memory(seconds, size)) is None:
        if size == 1:
            raise UserError("--batch-size auto: the memory of the device does not hold one image's pass")
        size //= 2
    while 2 * size <= most:
        doubled = _unless_out_of_memory(seconds, 2 * size)
        if doubled is None or GROWTH * doubled > 2 * taken:
            break
        size, taken = 2 * size, doubled
    return size


def _unless_out_of_memory(seconds: Callable[[int], float], size: int) -> float | None:
    try:
        return seconds(size)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    # until here the error holds on to the tensors of the failed pass
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def seconds_on(
    device: torch.device, compute: Callable[[ImageBatch], object], input_size: tuple[int, ...]
) -> Callable[[int], float]:
    """Images → seconds of the fastest of a few passes, with as many results kept as a run holds at once."""

    def seconds(size: int) -> float:
        images = torch.randint(0, 256, (size, *input_size), dtype=torch.uint8)
        batch = ImageBatch(tuple(range(size)), images, {})
        held: deque[object] = deque(maxlen=AT_ONCE - 1)
        fastest = math.inf
        for _ in range(AT_ONCE):
            started = time.perf_counter()
            held.append(compute(batch))
            if device.type != "cpu":
                torch.accelerator.synchronize(device)
            fastest = min(fastest, time.perf_counter() - started)
        return fastest

    return seconds

"""How long a device computes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Sums the time that a device spends in marked stretches."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._sum = 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """A stretch."""
        if self._device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            yield
            end.record()
            self._events.append((start, end))
        else:
            began = time.perf_counter()
            yield
            self._sum += time.perf_counter() - began

    def seconds(self) -> float:
        """So far."""
        for start, end in self._events:
            end.synchronize()
            self._sum += start.elapsed_time(end) / 1000
        self._events.clear()
        return self._sum

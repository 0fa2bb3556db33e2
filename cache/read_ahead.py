"""Making batches in threads, while the current one is used."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

import torch

from cache.device import local_processes

T = TypeVar("T")
Item = TypeVar("Item")

AHEAD = 2
"""Batches that are made, or wait, while the current one is used."""

MOST_COPIERS = 8


def copying_threads(device: torch.device) -> int:
    """That share the copying of a batch from host memory: one copies some 10 GB/s, a GPU's link takes 50.

    Half of the cores, of several processes each its share. Where the CPU computes, it needs them itself.
    """
    if device.type == "cpu":
        return 1
    return min(MOST_COPIERS, max(1, len(os.sched_getaffinity(0)) // (2 * local_processes())))


def map_ahead(make: Callable[[Item], T], items: Sequence[Item]) -> Iterator[T]:
    """`make` of each item, in order; the next `AHEAD` are made at once, each in its own thread."""
    with ThreadPoolExecutor(AHEAD, "token-loader") as threads:
        ahead = deque(threads.submit(make, item) for item in items[:AHEAD])
        for number in range(len(items)):
            made = ahead.popleft().result()
            if number + AHEAD < len(items):
                ahead.append(threads.submit(make, items[number + AHEAD]))
            yield made
            del made  # its memory may be used again


def iterate_ahead(source: Generator[T]) -> Iterator[T]:
    """`source` itself, which runs up to `AHEAD` items ahead in a thread."""
    with closing(source), ThreadPoolExecutor(1, "token-loader") as thread:
        ahead = deque(thread.submit(next, source, None) for _ in range(AHEAD))
        try:
            while (made := ahead.popleft().result()) is not None:
                ahead.append(thread.submit(next, source, None))
                yield made
                del made
        finally:
            thread.shutdown(cancel_futures=True)  # before the source is closed

"""What the processes that train together do together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from cache import launch

ValueT = TypeVar("ValueT")


def together() -> bool:
    """Whether several processes train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def summed(values: torch.Tensor) -> torch.Tensor:
    """The sum over all processes; `values` itself holds it too. Without gradient."""
    if together():
        dist.all_reduce(values)
    return values


def summed_count(count: int, device: torch.device) -> int:
    """The sum of a number of images over all processes."""
    return int(summed(torch.tensor(count, device=device))) if together() else count


def first_process() -> bool:
    """Whether this is the process that prints and keeps the results, for all."""
    first: bool = launch().process_index == 0
    return first


@contextmanager
def first_process_prints() -> Iterator[None]:
    """What the other processes print is dropped; their errors are not."""
    if first_process():
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        yield


def decided(choose: Callable[[], ValueT]) -> ValueT:
    """What process 0 gets from `choose`, in every process; what the others would get is not asked.

    Where `choose` raises in process 0, which says why, the others exit instead of waiting for it.
    """
    if launch().num_processes == 1:
        return choose()
    found: list[Any] = [None, False]
    try:
        if first_process():
            found = [choose(), True]
    finally:
        dist.broadcast_object_list(found)
    value, succeeded = found
    if not succeeded:
        raise SystemExit(1)
    decision: ValueT = value
    return decision

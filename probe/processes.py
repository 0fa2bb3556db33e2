"""What the processes that train together do together."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from cache import launch, leaving_in_order
from configs import UserError
from configs.command_line import EXIT_BAD_INPUT

ValueT = TypeVar("ValueT")


def together() -> bool:
    """Whether several processes train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def summed(values: torch.Tensor) -> torch.Tensor:
    """The sum over all processes; `values` itself holds it too. Without gradient."""
    if together():
        dist.all_reduce(values)
    return values


_shares: ContextVar[tuple[int, int] | None] = ContextVar("_shares", default=None)


@contextmanager
def sharing(own: int, whole: int) -> Iterator[None]:
    """Within, all processes work on a batch of `whole` images, of which this one has `own`."""
    before = _shares.set((own, whole))
    try:
        yield
    finally:
        _shares.reset(before)


def summed_count(count: int, device: torch.device) -> int:
    """The sum over all processes of a number of images, or of what each image has as many of.

    Where the processes share a batch it follows from its images: asking them would stop the host until the
    device has done all that it was asked for.
    """
    shares = _shares.get()
    if not together():
        return count
    if shares is None:
        return int(summed(torch.tensor(count, device=device)))
    own, whole = shares
    return count * whole // own


def sum_in_place(tensors: Iterable[torch.Tensor]) -> None:
    """Sum each over all processes. They are on their way together."""
    if together():
        for work in [dist.all_reduce(tensor, async_op=True) for tensor in tensors]:
            assert work is not None
            work.wait()


def first_process() -> bool:
    """Whether this is the process that prints and keeps the results, for all."""
    first: bool = launch().process_index == 0
    return first


@contextmanager
def speaking_as_one() -> Iterator[None]:
    """What other processes than the first print is dropped, their errors are not. All leave in order."""
    with ExitStack() as stack:
        if not first_process():
            stack.enter_context(redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
        stack.enter_context(leaving_in_order())
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
    except UserError as error:  # said at once: the launcher ends this process when another has ended
        print(f"probe: {error}", file=sys.stderr, flush=True)
        raise SystemExit(EXIT_BAD_INPUT) from None
    finally:
        dist.broadcast_object_list(found)
    value, succeeded = found
    if not succeeded:
        raise SystemExit(EXIT_BAD_INPUT)
    decision: ValueT = value
    return decision

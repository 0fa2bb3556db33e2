"""Which device a command uses, and which of several processes it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.distributed.nn  # early: a process group that is there when it is imported is never destroyed
from accelerate import PartialState

from configs import UserError

LONGEST_WAIT = timedelta(days=30)
"""For another process, which computes alone or has more shards; torch's own is 10 or 30 minutes. When one has
died, the launcher ends all."""


def launch(device: str | None = None) -> PartialState:
    """This process's place among those that `accelerate launch` or `torchrun` started; alone: 0 of 1.

    They talk by way of `device`, of the first call; without it, of the fastest there is.
    """
    cpu = device is not None and device.partition(":")[0] == "cpu"
    return PartialState(cpu=cpu or not torch.accelerator.is_available(), timeout=LONGEST_WAIT)


@contextmanager
def leaving_in_order() -> Iterator[None]:
    """In the end, or at a refusal, stop the threads that talk to other processes.

    Some abort a process that ends with them at work.
    """
    try:
        yield
    except (UserError, SystemExit):
        _leave()
        raise
    _leave()


def _leave() -> None:
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def chosen_device(name: str | None) -> torch.device:
    """The device `name`, or the fastest there is: what processes that work together then talk by way of.

    Raises `UserError` where it cannot be used.
    """
    if name is None:
        return torch.device(launch().device)
    try:
        torch.ones(1, device=name).item()  # `meta` has no values
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"--device {name}: {str(error).splitlines()[0]}") from None
    launch(name)
    return torch.device(name)

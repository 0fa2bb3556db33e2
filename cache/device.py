"""Which device a command uses, and which of several processes it is."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.distributed.nn  # early: a process group that is there when it is imported is never destroyed
from accelerate import PartialState

from configs import UserError
from configs.command_line import end_at_once

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

    Some abort a process that ends with them at work. Those of NCCL are left alone at a refusal: stopping them
    waits for what the other processes have begun, which this one has no more part in. A command then ends
    without them once it has said the refusal, and its launcher ends the others.
    """
    try:
        yield
    except (UserError, SystemExit):
        if _talking() and "nccl" in dist.get_backend():
            end_at_once()
        else:
            _leave()
        raise
    _leave()


def _talking() -> bool:
    return dist.is_available() and dist.is_initialized()


def _leave() -> None:
    if _talking():
        dist.destroy_process_group()


def chosen_device(name: str | None) -> torch.device:
    """The device `name`, or the fastest there is: what processes that work together then talk by way of.

    From now on it is the current one, and float32 is computed as float32. Raises `UserError` where it cannot
    be used.
    """
    _keep_float32()
    if name is None:
        return torch.device(launch().device)
    _launch_on(name)
    _require_number(name)
    try:
        torch.ones(1, device=name).item()  # `meta` has no values
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"--device {name}: {str(error).splitlines()[0]}") from None
    device, own = torch.device(name), torch.device(launch(name).device)
    if ":" not in name:
        return own if own.type == device.type else device
    if device.type == "cuda":
        torch.cuda.set_device(device)  # or events, and memory for copies, would be the first device's
    return device


def local_processes() -> int:
    """That work together on this machine, as their launcher says."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def same_device(one: torch.device, other: torch.device) -> bool:
    """Whether both name the same; one without a number is the current of its kind."""
    return one.type == other.type and (None in (one.index, other.index) or one.index == other.index)


def _require_number(name: str) -> None:
    """Raise `UserError` for a GPU that is not there: of its number, torch reads the last eight bits."""
    kind, _, number = name.partition(":")
    held = torch.cuda.device_count()
    if kind == "cuda" and number.isdecimal() and int(number) >= held > 0:
        raise UserError(f"--device {name}: the GPUs here are cuda:0 to cuda:{held - 1}")


def _launch_on(name: str) -> None:
    """Of several processes, let each have a device of its own before any computes.

    On the first tensor's device a context takes memory: without this, of all processes on the first GPU.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    kind, _, index = name.partition(":")
    if processes == 1 or kind == "cpu":
        return
    if index:
        raise UserError(
            f"--device {name} names one device for {processes} processes: give --device {kind}, and each "
            "takes its own"
        )
    if kind == "cuda" and torch.cuda.is_available():
        launch(name)


def _keep_float32() -> None:
    """Convolutions and matrix products in float32, where NVIDIA's libraries may take TF32, of 11 bits.

    cuDNN's convolutions do so unless told otherwise.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of another way, after which reading these settings fails
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False

"""Which device a command uses, and which of several processes it is."""

from __future__ import annotations

import torch
from accelerate import PartialState

from configs import UserError


def launch() -> PartialState:
    """This process's place among those that `accelerate launch` or `torchrun` started; alone: 0 of 1."""
    return PartialState(cpu=not torch.accelerator.is_available())


def chosen_device(name: str | None) -> torch.device:
    """The device `name`, or the fastest there is. Raises `UserError` where it cannot be used."""
    if name is None:
        return torch.device(launch().device)
    try:
        torch.ones(1, device=name).item()  # `meta` has no values
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"--device {name}: {str(error).splitlines()[0]}") from None
    return torch.device(name)

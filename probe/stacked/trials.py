"""Joining modules of one architecture into one that computes all of them, and taking trials out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def stack(modules: Sequence[ModuleT]) -> ModuleT:
    """One module of all trials of `modules`, in their order. The modules must have one architecture."""
    states = [module.state_dict() for module in modules]
    return _with_tensors(modules[0], lambda name: torch.cat([state[name] for state in states]))


def select(module: ModuleT, trials: Sequence[int]) -> ModuleT:
    """A copy of `module` with these of its trials alone."""
    state = module.state_dict()
    return _with_tensors(module, lambda name: state[name][list(trials)])


def num_trials(module: nn.Module) -> int:
    """K."""
    return len(next(module.parameters()))


def trial_state(module: nn.Module, trial: int) -> dict[str, torch.Tensor]:
    """One trial's parameters and buffers by name, without the trial axis."""
    return {name: tensor[trial] for name, tensor in module.state_dict().items()}


def _with_tensors(module: ModuleT, tensor_of: Callable[[str], torch.Tensor]) -> ModuleT:
    changed = copy.deepcopy(module)
    for prefix, part in changed.named_modules():
        for held in (part._parameters, part._buffers):
            for key, old in held.items():
                if old is None:
                    continue
                new = tensor_of(f"{prefix}.{key}" if prefix else key).detach().clone()
                held[key] = nn.Parameter(new) if isinstance(old, nn.Parameter) else new
    return changed

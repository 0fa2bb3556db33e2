"""A run's state at the end of an epoch, to go on from when it is killed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from cache.atomic import write_bytes
from configs import UserError
from probe.outcome import EpochRow, Outcome
from probe.trial_spec import TrainingImages, TrialSpec

FILE = "checkpoint.safetensors"

COST_SHARE = 0.1
"""Of the time since the last one that writing a checkpoint may take; shorter epochs share one."""


@dataclass
class Progress:
    """Where a run is: passes that are finished, and the epochs and trials of the present one."""

    passes: int = 0
    epochs: int = 0
    outcomes: list[Outcome] = field(default_factory=list)
    """Of all passes so far, the present one's last."""
    trained: int = 0
    """How many of the outcomes belong to finished passes."""
    divided: list[int] = field(default_factory=list)
    """Passes that became two since the device had no memory for them, one division after another."""


class Checkpoint:
    """Reads and writes a run's checkpoint. The same numbers come from going on as from never stopping."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._due = 0.0

    def load(self) -> tuple[Progress, dict[str, torch.Tensor]] | None:
        """The last state and the stacks' tensors, or None where there is none.

        Raises `UserError` for a damaged file.
        """
        if not self.path.exists():
            return None
        try:
            with safe_open(str(self.path), "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 not a mapping
                state = json.loads(file.metadata()["progress"])
        except (SafetensorError, KeyError, TypeError, ValueError):
            raise UserError(f"{self.path} is damaged: remove it, and the run begins again") from None
        outcomes = [_outcome(row) for row in state.pop("outcomes")]
        return Progress(**state, outcomes=outcomes), tensors

    def save_when_due(self, progress: Progress, tensors: Callable[[], Mapping[str, torch.Tensor]]) -> None:
        """Write the state, unless that would take more than a tenth of the time."""
        if time.monotonic() >= self._due:
            self.save(progress, tensors())

    def save(self, progress: Progress, tensors: Mapping[str, torch.Tensor]) -> None:
        """Write the state."""
        began = time.monotonic()
        held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        write_bytes(self.path, save(held, {"progress": json.dumps(asdict(progress))}))
        ended = time.monotonic()
        self._due = ended + (ended - began) / COST_SHARE


def _outcome(row: dict[str, Any]) -> Outcome:
    spec = row.pop("spec")
    images, blocks = TrainingImages(**spec.pop("images")), tuple(spec.pop("blocks"))
    epochs = [EpochRow(**epoch) for epoch in row.pop("epochs")]
    return Outcome(TrialSpec(images=images, blocks=blocks, **spec), epochs=epochs, **row)


def stacks_state(states: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Tensors of several stacks under one name each."""
    return {f"{number}/{name}": t for number, state in enumerate(states) for name, t in state.items()}


def stack_state(tensors: Mapping[str, torch.Tensor], number: int) -> dict[str, torch.Tensor]:
    """One stack's tensors out of `stacks_state`."""
    prefix = f"{number}/"
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}

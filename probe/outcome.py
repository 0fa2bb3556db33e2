"""What a trial leaves behind: its epochs, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass, field

from probe.trial_spec import TrialSpec


@dataclass(frozen=True)
class EpochRow:
    """One epoch of one trial. Accuracies in percent after it; None where they were not measured."""

    trial: str
    epoch: int
    loss: float
    """Mean training loss over the epoch's images."""
    held_out_top1: float | None
    held_out_top5: float | None
    top1: float | None
    """On the evaluation split."""
    top5: float | None
    images_per_second: float
    """Training images of the epoch through all trials together, reading included."""


@dataclass
class Outcome:
    """One trial, on its way or finished."""

    spec: TrialSpec
    name: str
    lr: float
    """Of the steps: batch scaling is done."""
    batch_size: int
    training_images: int
    epochs: list[EpochRow] = field(default_factory=list)
    seconds: float = 0.0
    pruned: bool = False

    @property
    def last(self) -> EpochRow:
        """The last epoch that it was trained for."""
        return self.epochs[-1]

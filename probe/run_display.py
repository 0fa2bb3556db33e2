"""What a run tells while it trains: notices, epochs, how far it is and the best result so far."""

from __future__ import annotations

from collections.abc import Sequence

from configs.command_line.progress import ProgressDisplay
from probe.outcome import EpochRow
from probe.parts import Part
from probe.report import epoch_lines, score


class RunDisplay(ProgressDisplay):
    """Counts the training images of all passes' epochs, on standard error."""

    def __init__(self, *, shown: bool) -> None:
        super().__init__(shown=shown)
        self._best: EpochRow | None = None
        self._pass = ""

    def begin_pass(self, number: int, parts: Sequence[Part], epochs: int) -> None:
        """Pass `number`, from 0, of `parts` goes on after so many epochs."""
        done = sum(map(_images, parts[:number])) + epochs * _epoch_images(parts[number])
        self._pass = f"pass {number + 1}/{len(parts)}  " if len(parts) > 1 else ""
        self._name(epochs, parts[number].recipe.epochs)
        self.stand_at(done, sum(map(_images, parts)))

    def end_epoch(self, epoch: int, epochs: int, rows: Sequence[EpochRow], probes: Sequence[str]) -> None:
        """Epoch `epoch`, from 1, gave these rows; `probes` names the probe of each."""
        for line in epoch_lines(rows, epochs, probes):
            self.say(line)
        self._best = max([*rows, *([self._best] if self._best else [])], key=score)
        self.note = f"best {self._best.trial} {score(self._best):.2f}" if score(self._best) >= 0 else ""
        self._name(min(epoch, epochs - 1), epochs)

    def _name(self, epochs_done: int, epochs: int) -> None:
        self.label = f"{self._pass}epoch {epochs_done + 1}/{epochs}"


def _images(part: Part) -> int:
    return part.recipe.epochs * _epoch_images(part)


def _epoch_images(part: Part) -> int:
    """A last batch that is not full is left out."""
    size = part.recipe.batch_size
    return len(part.data.train) // size * size

"""The passes of a run, one after another."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from cache import Residency, give_back_device_memory, is_out_of_memory, launch
from configs import RecipeConfig, UserError
from probe.checkpoint import Checkpoint, Progress
from probe.cost import ProbeCost
from probe.data import ProbeData
from probe.options import FitOptions
from probe.outcome import EpochRow, Outcome
from probe.parts import Part, halves, part_cost
from probe.predictions import keep_predictions
from probe.processes import decided
from probe.recipe import cut_notice
from probe.run_display import RunDisplay
from probe.run_folder import RunFolder
from probe.setting import scaled_lr
from probe.split_batches import SplitBatches
from probe.training_pass import PassData, TrainingPass
from probe.trial_spec import TrialSpec, label, varied

EVALUATION_BATCH = 512


class TrialRun:
    """All trials of a run, trained from where an earlier one was killed."""

    def __init__(
        self,
        options: FitOptions,
        data: ProbeData,
        parts: Sequence[Part],
        residency: Residency,
        choosing: bool,
        path: Path,
        folder: RunFolder | None,
        display: RunDisplay,
    ) -> None:
        self._display = display
        self._options, self._data, self._parts = options, data, list(parts)
        self._residency, self._path, self._folder = residency, path, folder
        self._every_epoch = options.every_epoch or not choosing
        self._names = varied([spec for part in parts for spec in part.specs])
        self._checkpoint = Checkpoint(path)
        self._progress = Progress()

    @property
    def outcomes(self) -> list[Outcome]:
        """Of every trial so far."""
        return self._progress.outcomes

    def costs(self) -> list[ProbeCost]:
        """Of every trial."""
        classes = self._data.num_classes
        return [part_cost(part, spec, classes) for part in self._parts for spec in part.specs]

    def go(self) -> None:
        """Train what is not trained yet."""
        tensors = self._take_up()
        if len(self._parts) > 1:
            trials = sum(len(part.specs) for part in self._parts)
            self._display.say(f"{trials} trials in {len(self._parts)} passes")
        while self._progress.passes < len(self._parts):
            if not self._trained(self._progress.passes, tensors):
                self._divide(self._progress.passes)
            tensors = {}
            give_back_device_memory()

    def _take_up(self) -> dict[str, torch.Tensor]:
        found = decided(self._checkpoint.load)
        if found is None:
            return {}
        self._progress, tensors = found
        for number in self._progress.divided:
            self._parts[number : number + 1] = halves(self._parts[number])
        if self._folder is not None:
            self._folder.log([row for outcome in self.outcomes for row in outcome.epochs])
        self._display.say(
            f"going on with {self._path}: "
            + (
                f"pass {self._progress.passes + 1} of {len(self._parts)}, after epoch {self._progress.epochs}"
                if self._progress.passes < len(self._parts)
                else "all trials are trained"
            )
        )
        return tensors

    def _trained(self, number: int, tensors: dict[str, torch.Tensor]) -> bool:
        """Train a pass; False where the device's memory does not suffice. What it needed is given back."""
        try:
            self._train(number, tensors)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if launch().num_processes > 1:  # the others are in the middle of a step
                raise UserError(
                    f"no memory on {self._data.device} for {len(self._parts[number].specs)} trials at once: "
                    "give --training-memory, less than what this run planned with"
                ) from None
            return False
        return True

    def _divide(self, number: int) -> None:
        """Train a pass as two: each trial's numbers are those it has alone, whatever it is trained with."""
        trials = len(self._parts[number].specs)
        self._parts[number : number + 1] = halves(self._parts[number])
        self._display.say(
            f"no memory on {self._data.device} for {trials} trials at once: this pass is divided in two, "
            f"{len(self._parts)} passes in all"
        )
        self._progress.divided.append(number)
        self._progress.epochs = 0
        del self._progress.outcomes[self._progress.trained :]

    def _train(self, number: int, tensors: dict[str, torch.Tensor]) -> None:
        part, progress = self._parts[number], self._progress
        if notice := cut_notice(self._options, part.recipe, len(part.data.train)):
            self._display.say(notice)
        if progress.trained == len(progress.outcomes):
            progress.outcomes += [self._outcome(part, spec) for spec in part.specs]
        data = self._pass_data(part)
        self._display.say(data.train.describe())
        self._display.begin_pass(number, self._parts, progress.epochs)
        training = TrainingPass(
            progress.outcomes[progress.trained :],
            part.recipe,
            data,
            part.inputs,
            dim=part.dim,
            grid=part.grid,
            num_classes=self._data.num_classes,
            device=self._data.device,
            every_epoch=self._every_epoch,
            prune=self._options.prune,
        )
        if tensors:
            training.load_state_dict(tensors, progress.epochs)
        training.run(
            progress.epochs, partial(self._after_epoch, part.recipe, training), self._display.advance
        )
        progress.passes, progress.epochs, progress.trained = number + 1, 0, len(progress.outcomes)
        if self._folder is not None:
            self._folder.keep_heads(number, training.heads())
            keep_predictions(self._path, number, training.predictions)
            self._checkpoint.save(progress, {})

    def _outcome(self, part: Part, spec: TrialSpec) -> Outcome:
        lr = scaled_lr(spec.lr, part.recipe)
        name = label(spec, self._names)
        return Outcome(spec, name, lr, part.recipe.batch_size, len(part.data.train))

    def _pass_data(self, part: Part) -> PassData:
        settings: dict[str, Any] = {"residency": self._residency, "device": self._data.device}
        size = part.recipe.batch_size
        measured = min(EVALUATION_BATCH, size)
        train, held_out = part.data.train, part.data.held_out
        return PassData(
            SplitBatches(
                train.blocks,
                size,
                training=True,
                seed=self._options.order_seed,
                draw_views=train.draw_views,
                **settings,
            ),
            None if held_out is None else SplitBatches(held_out.blocks, measured, **settings),
            SplitBatches(part.data.evaluation.blocks, measured, **settings),
        )

    def _after_epoch(
        self, recipe: RecipeConfig, training: TrainingPass, epoch: int, rows: list[EpochRow]
    ) -> None:
        probe_of = {outcome.name: outcome.spec.probe for outcome in training.outcomes}
        self._display.end_epoch(epoch, recipe.epochs, rows, [probe_of[row.trial] for row in rows])
        self._progress.epochs = epoch
        if self._folder is None:
            return
        self._folder.log(rows)
        if epoch < recipe.epochs:
            self._checkpoint.save_when_due(self._progress, training.state_dict)

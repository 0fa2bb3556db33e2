"""The passes of a run, one after another."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from cache import Residency
from configs import RecipeConfig
from probe.checkpoint import Checkpoint, Progress
from probe.cost import ProbeCost
from probe.data import ProbeData
from probe.options import FitOptions
from probe.outcome import EpochRow, Outcome
from probe.parts import Part, part_cost
from probe.processes import decided
from probe.recipe import cut_notice
from probe.report import print_epoch
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
    ) -> None:
        self._options, self._data, self._parts = options, data, parts
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
            print(f"{sum(len(part.specs) for part in self._parts)} trials in {len(self._parts)} passes")
        for number in range(self._progress.passes, len(self._parts)):
            self._train(number, tensors)
            tensors = {}

    def _take_up(self) -> dict[str, torch.Tensor]:
        found = decided(self._checkpoint.load)
        if found is None:
            return {}
        self._progress, tensors = found
        if self._folder is not None:
            self._folder.log([row for outcome in self.outcomes for row in outcome.epochs])
        print(
            f"going on with {self._path}: pass {self._progress.passes + 1} of {len(self._parts)}, "
            f"after epoch {self._progress.epochs}"
        )
        return tensors

    def _train(self, number: int, tensors: dict[str, torch.Tensor]) -> None:
        part, progress = self._parts[number], self._progress
        if notice := cut_notice(self._options, part.recipe, len(part.data.train)):
            print(notice)
        if progress.trained == len(progress.outcomes):
            progress.outcomes += [self._outcome(part, spec) for spec in part.specs]
        data = self._pass_data(part)
        print(data.train.describe())
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
        training.run(progress.epochs, partial(self._after_epoch, part.recipe, training))
        progress.passes, progress.epochs, progress.trained = number + 1, 0, len(progress.outcomes)
        if self._folder is not None:
            self._folder.keep_heads(number, training.heads())
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
        print_epoch(rows, recipe.epochs, [probe_of[row.trial] for row in rows])
        self._progress.epochs = epoch
        if self._folder is None:
            return
        self._folder.log(rows)
        if epoch < recipe.epochs:
            self._checkpoint.save_when_due(self._progress, training.state_dict)

"""`probe fit`: from options to a finished run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from cache import Residency, choose_residency, chosen_device, launch
from configs import RecipeConfig, UserError, load_recipe
from probe.checkpoint import Checkpoint, Progress
from probe.cost import ProbeCost
from probe.data import ProbeData, open_probe_data
from probe.grid import something_to_choose, trial_grid
from probe.options import FitOptions
from probe.outcome import EpochRow, Outcome
from probe.parts import Part, part_cost, plan_parts
from probe.passes import training_memory
from probe.processes import decided, first_process_prints
from probe.recipe import cut_notice
from probe.report import print_answers, print_epoch
from probe.run_folder import RunFolder, RunPlace, find_place
from probe.selection import Answer, answers
from probe.setting import scaled_lr
from probe.split_batches import SplitBatches
from probe.training_pass import PassData, TrainingPass
from probe.trial_spec import TrialSpec, label, varied

EVALUATION_BATCH = 512

HELD_OUT = 0.1
"""Share of the training images that choose, where there is something to choose."""


@first_process_prints()
def run_fit(options: FitOptions) -> list[Answer]:
    """Train, choose, measure, print and store everything of one run; returns its answers.

    Of several processes, the first prints and stores, and decides what depends on the machine.
    """
    device = chosen_device(options.device)
    data = open_probe_data(options, device)
    specs = trial_grid(options, load_recipe(options.recipe), data)
    held_out = _held_out_share(options, specs)
    memory = decided(lambda: options.training_memory or training_memory(device))
    parts = plan_parts(options, data, specs, held_out, memory)
    identity = _identity(options, parts, data, held_out)
    place = decided(lambda: find_place(options.runs, options.name, _run_name(options, data), identity))
    if place.resumed is not None:
        memory = place.resumed["training_memory"]
        parts = plan_parts(options, data, specs, held_out, memory)
    residency = decided(lambda: _residency(options, parts, device, place))
    config = identity | {"training_memory": memory, "residency": asdict(residency)}
    with _opened(place, config) as folder:
        run = _Run(options, data, parts, residency, held_out > 0, place.folder, folder)
        run.go()
        found = answers(run.outcomes)
        costs = run.costs()
        if folder is not None:
            folder.finish(_rows(run.outcomes, costs, found), list(map(asdict, found)), _chosen(found))
    by_name = {outcome.name: cost for outcome, cost in zip(run.outcomes, costs, strict=True)}
    print_answers(found, [by_name[answer.trials[0]] for answer in found], data.evaluation.name, place.folder)
    return found


@contextmanager
def _opened(place: RunPlace, config: Mapping[str, Any]) -> Iterator[RunFolder | None]:
    """The run's folder, in the first process; None in the others, which keep nothing."""
    with ExitStack() as stack:
        folder: RunFolder | None = None

        def open_it() -> None:
            nonlocal folder
            folder = stack.enter_context(RunFolder(place, config))

        decided(open_it)
        yield folder


def _held_out_share(options: FitOptions, specs: Sequence[TrialSpec]) -> float:
    chosen = something_to_choose(list(specs))
    share = options.held_out
    if share is None:
        share = HELD_OUT if chosen else 0.0
    if options.prune and not (share and chosen):
        raise UserError("--prune compares learning rates and weight decays on held-out images: give several")
    return share


class _Run:
    """The passes of a run, one after another, from where an earlier one was killed."""

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
            self._folder.log([row for outcome in self.outcomes for row in outcome.epochs], again=True)
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
        held_out = part.data.held_out
        return PassData(
            SplitBatches(
                part.data.train.blocks, size, training=True, seed=self._options.order_seed, **settings
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


def _residency(
    options: FitOptions, parts: Sequence[Part], device: torch.device, place: RunPlace
) -> Residency:
    """Where tokens are: for all passes alike, and as it was for a run that goes on."""
    if place.resumed is not None:
        return Residency(**place.resumed["residency"])
    largest = max(parts, key=lambda part: sum(len(d) * d.record_bytes for d in part.data.datasets))
    return choose_residency(largest.data.datasets, device, tier=options.tier, memory=options.memory)


def _run_name(options: FitOptions, data: ProbeData) -> str:
    probes = "+".join(options.probe) if len(options.probe) < 4 else f"{len(options.probe)}-probes"
    return f"{data.store.folder.resolve().name}-{data.dataset}-{probes}-{options.recipe}"


def _identity(options: FitOptions, parts: Sequence[Part], data: ProbeData, held_out: float) -> dict[str, Any]:
    """Everything that decides a run's numbers, as resolved; a killed run goes on only under the same."""
    where = {"runs", "name", "device", "tier", "memory", "training_memory", "verify"}
    return {
        "options": options.model_dump(mode="json", exclude=where),
        "recipe": parts[0].recipe.model_dump(mode="json"),
        "held_out": held_out,
        "blocks": sorted({block for part in parts for spec in part.specs for block in spec.blocks}),
        "processes": launch().num_processes,
        "tokens": list(parts[0].inputs),
        "classes": list(data.train.manifest.classes),
        "backbone": data.store.manifest.backbone.model_dump(mode="json"),
        "stored_dtype": data.store.manifest.dtype,
        "train": data.train.manifest.dataset.model_dump(mode="json"),
        "evaluation": data.evaluation.manifest.dataset.model_dump(mode="json"),
    }


def _chosen(found: Sequence[Answer]) -> list[str]:
    return [name for answer in found for name in answer.trials]


def _rows(
    outcomes: Sequence[Outcome], costs: Sequence[ProbeCost], found: Sequence[Answer]
) -> list[dict[str, Any]]:
    """One row of `results.csv` for each trial."""
    chosen = set(_chosen(found))
    rows = []
    for outcome, cost in zip(outcomes, costs, strict=True):
        spec, last = outcome.spec, outcome.last
        measured = [row for row in outcome.epochs if row.top1 is not None]
        best = max(measured, key=lambda row: row.top1 or 0.0, default=None)
        rows.append(
            {
                "trial": outcome.name,
                "probe": spec.probe,
                "chosen": outcome.name in chosen,
                "parameters": cost.parameters,
                "gflops": cost.gflops,
                "held_out_top1": last.held_out_top1,
                "top1_last": last.top1,
                "top5_last": last.top5,
                "top1_best": None if best is None else best.top1,
                "best_epoch": None if best is None else best.epoch,
                "loss": last.loss,
                "seconds": outcome.seconds,
                "lr": outcome.lr,
                "lr_given": spec.lr,
                "weight_decay": spec.weight_decay,
                "seed": spec.seed,
                "blocks": "+".join(map(str, spec.blocks)),
                "tokens": spec.tokens,
                "shots": spec.images.shots,
                "fraction": spec.images.fraction,
                "draw": spec.images.draw,
                "training_images": outcome.training_images,
                "batch_size": outcome.batch_size,
                "epochs": last.epoch,
                "pruned": outcome.pruned,
            }
        )
    return rows

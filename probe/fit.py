"""`probe fit`: from options to a finished run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

import torch

from cache import Residency, choose_residency, chosen_device, launch
from configs import UserError, load_recipe
from probe.closed_form_run import closed_form_results
from probe.data import ProbeData, open_probe_data
from probe.freed_memory import keep_freed_memory
from probe.grid import block_sets, held_out_share, something_to_choose, token_states, trial_grid
from probe.layer_plot import save_layer_plot
from probe.names import CLOSED_FORM
from probe.options import FitOptions
from probe.parts import Part, plan_parts
from probe.passes import training_memory
from probe.processes import decided, speaking_as_one
from probe.report import print_answers
from probe.result_rows import closed_form_rows, trial_rows
from probe.run_folder import RunFolder, RunPlace, find_place
from probe.selection import Answer, answers
from probe.trial_run import TrialRun
from probe.trial_spec import TrialSpec
from probe.view_policy import view_policy


@speaking_as_one()
def run_fit(options: FitOptions) -> list[Answer]:
    """Train, choose, measure, print and store everything of one run; returns its answers.

    Of several processes, the first prints and stores, and decides what depends on the machine.
    """
    device = chosen_device(options.device)
    if device.type == "cpu":
        keep_freed_memory()
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
        run = TrialRun(options, data, parts, residency, held_out > 0, place.folder, folder)
        run.go()
        closed_form = decided(lambda: list(closed_form_results(options, data)))
        trained = answers(run.outcomes)
        found = trained + [result.answer for result in closed_form]
        costs = run.costs()
        if folder is not None:
            chosen = [name for answer in trained for name in answer.trials]
            rows = trial_rows(run.outcomes, costs, chosen)
            rows += [row for result in closed_form for row in closed_form_rows(result)]
            save_layer_plot(place.folder / "layers.png", found, data.evaluation.name)
            folder.finish(rows, list(map(asdict, found)), chosen)
    by_probe = {outcome.name: cost for outcome, cost in zip(run.outcomes, costs, strict=True)}
    print_answers(
        found,
        [by_probe[answer.trials[0]] if answer.trials else None for answer in found],
        data.evaluation.name,
        place.folder,
    )
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
    share = held_out_share(options) if chosen or options.held_out is not None else 0.0
    if options.held_out == 0 and set(options.probe) & set(CLOSED_FORM):
        raise UserError("--held-out 0: knn and logreg choose their settings on held-out images")
    if options.prune and not (share and chosen):
        raise UserError("--prune compares learning rates and weight decays on held-out images: give several")
    return share


def _residency(
    options: FitOptions, parts: Sequence[Part], device: torch.device, place: RunPlace
) -> Residency:
    """Where tokens are: for all passes alike, and as it was for a run that goes on."""
    if place.resumed is not None:
        return Residency(**place.resumed["residency"])
    if not parts:
        return Residency("host", 0)
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
        "recipe": parts[0].recipe.model_dump(mode="json") if parts else None,
        "held_out": held_out,
        "blocks": list(map(list, block_sets(options, data))),
        "processes": launch().num_processes,
        "tokens": list(token_states(options, data)),
        "classes": list(data.train.manifest.classes),
        "backbone": data.store.manifest.backbone.model_dump(mode="json"),
        "views": [view_policy(options, data), data.train.manifest.views],
        "stored_dtype": data.store.manifest.dtype,
        "train": data.train.manifest.dataset.model_dump(mode="json"),
        "evaluation": data.evaluation.manifest.dataset.model_dump(mode="json"),
    }

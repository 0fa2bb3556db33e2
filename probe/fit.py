"""`probe fit`: from options to a finished run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

import torch

from cache import Residency, SplitReader, choose_residency, chosen_device, launch
from configs import UserError, load_recipe
from probe.closed_form_run import ClosedFormResult, closed_form_results, require_enough_images
from probe.cost import ProbeCost
from probe.data import ProbeData, open_probe_data
from probe.freed_memory import keep_freed_memory
from probe.grid import block_sets, held_out_share, something_to_choose, token_states, trial_grid
from probe.names import CLOSED_FORM
from probe.options import FitOptions
from probe.outcome import Outcome
from probe.parts import Part, plan_parts
from probe.passes import training_memory
from probe.predictions import write_predictions
from probe.processes import decided, first_process, speaking_as_one
from probe.report import print_answers, print_answers_as_json
from probe.reporting import read_run, write_report
from probe.result_rows import closed_form_rows, trial_rows
from probe.run_display import RunDisplay
from probe.run_folder import RunFolder, RunPlace, find_place, telling_how_to_go_on
from probe.selection import Answer, answers
from probe.tracking import require_trackers
from probe.trial_run import TrialRun
from probe.trial_spec import TrialSpec
from probe.view_policy import view_policy


def run_fit(options: FitOptions) -> list[Answer]:
    """Train, choose, measure, print and store everything of one run; returns its answers.

    Of several processes, the first prints and stores, and decides what depends on the machine.
    """
    device = chosen_device(options.device)
    with speaking_as_one():
        return _run(options, device)


def _run(options: FitOptions, device: torch.device) -> list[Answer]:
    require_trackers(options.track)
    if device.type == "cpu":
        keep_freed_memory()
    data = open_probe_data(options, device)
    specs = trial_grid(options, load_recipe(options.recipe), data)
    held_out = _held_out_share(options, specs)
    require_enough_images(options, data)  # now, not after all is trained
    memory = decided(lambda: options.training_memory or training_memory(device))
    parts = plan_parts(options, data, specs, held_out, memory)
    identity = _identity(options, parts, data, held_out)
    place = decided(lambda: find_place(options.runs, options.name, _run_name(options, data), identity))
    if place.resumed is not None:
        memory = place.resumed["training_memory"]
        parts = plan_parts(options, data, specs, held_out, memory)
    residency = decided(lambda: _residency(options, parts, device, place))
    if residency.tier == "device" and place.resumed is None and options.training_memory is None:
        tokens = max(map(_token_bytes, parts))
        memory = decided(lambda: training_memory(device, tokens))
        parts = plan_parts(options, data, specs, held_out, memory)
    config = identity | {"training_memory": memory, "residency": asdict(residency)}
    display = RunDisplay(shown=first_process() and not options.quiet)
    with telling_how_to_go_on(place.folder):
        with _opened(place, config, options) as folder, display:
            run = TrialRun(options, data, parts, residency, held_out > 0, place.folder, folder, display)
            run.go()
            closed_form = decided(lambda: _closed_form(options, data, display))
            found, costs = answers(run.outcomes), run.costs()
            if folder is not None:
                _finish(folder, data.evaluation, run.outcomes, costs, found, closed_form)
        found += [result.answer for result in closed_form]
        cost_of = {outcome.name: cost for outcome, cost in zip(run.outcomes, costs, strict=True)}
        show = print_answers_as_json if options.json_ else print_answers
        show(
            found,
            [cost_of[answer.trials[0]] if answer.trials else None for answer in found],
            data.evaluation.name,
            place.folder,
        )
        if folder is not None and options.report:
            page = write_report(
                [read_run(place.folder)],
                place.folder,
                instead=f"`probe report {place.folder} --out FOLDER` writes it elsewhere",
            )
            if not options.json_:
                print(f"report:  {page}")
        return found


def _finish(
    folder: RunFolder,
    evaluation: SplitReader,
    outcomes: Sequence[Outcome],
    costs: Sequence[ProbeCost],
    trained: Sequence[Answer],
    closed_form: Sequence[ClosedFormResult],
) -> None:
    """Write what the run found. `costs` are those of the outcomes' trials."""
    chosen = [name for answer in trained for name in answer.trials]
    rows = trial_rows(outcomes, costs, chosen)
    rows += [row for result in closed_form for row in closed_form_rows(result)]
    computed = {name: c for result in closed_form for name, c in result.predictions.items()}
    named = [answer.trials for answer in trained] + [tuple(result.predictions) for result in closed_form]
    write_predictions(folder.folder, evaluation, named, computed)
    found = [*trained, *(result.answer for result in closed_form)]
    folder.finish(rows, list(map(asdict, found)), chosen)


def _closed_form(options: FitOptions, data: ProbeData, display: RunDisplay) -> list[ClosedFormResult]:
    results = []
    for result in closed_form_results(options, data):
        answer = result.answer
        display.say(f"{answer.probe:<12} top-1 {answer.top1:6.2f}  {answer.setting}  {result.seconds:.1f} s")
        results.append(result)
    return results


@contextmanager
def _opened(place: RunPlace, config: Mapping[str, Any], options: FitOptions) -> Iterator[RunFolder | None]:
    """The run's folder, in the first process; None in the others, which keep nothing."""
    with ExitStack() as stack:
        folder: RunFolder | None = None

        def open_it() -> None:
            nonlocal folder
            folder = stack.enter_context(RunFolder(place, config, options.track, quiet=options.quiet))

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
    largest = max(parts, key=_token_bytes)
    return choose_residency(largest.data.datasets, device, tier=options.tier, memory=options.memory)


def _token_bytes(part: Part) -> int:
    return sum(len(dataset) * dataset.record_bytes for dataset in part.data.datasets)


def _run_name(options: FitOptions, data: ProbeData) -> str:
    probes = "+".join(options.probe) if len(options.probe) < 4 else f"{len(options.probe)}-probes"
    return f"{data.store.folder.resolve().name}-{data.dataset}-{probes}-{options.recipe}"


def _identity(options: FitOptions, parts: Sequence[Part], data: ProbeData, held_out: float) -> dict[str, Any]:
    """Everything that decides a run's numbers, as resolved; a killed run goes on only under the same."""
    where = {"runs", "name", "device", "tier", "memory", "training_memory", "verify"}
    where |= {"track", "quiet", "json_", "report"}
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

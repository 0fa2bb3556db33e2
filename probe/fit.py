"""`probe fit`: from options to a finished run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from cache import TokenBatch, TokenDataset, TokenLoader, choose_residency, chosen_device, launch
from configs import RecipeConfig, UserError
from probe.data import ProbeData, open_probe_data
from probe.options import FitOptions
from probe.probe import build_probe
from probe.recipe import cut_notice, resolved_recipe
from probe.report import print_epoch, print_table
from probe.run_folder import RunFolder, TrialSummary, free_run_name
from probe.training import EpochResult, fit
from probe.trial import Trial, setting_from

EVALUATION_BATCH = 512


def run_fit(options: FitOptions) -> list[TrialSummary]:
    """Train, print and store everything of one run; returns its rows."""
    if launch().num_processes > 1:
        raise UserError("probing uses one process: start it without accelerate launch or torchrun")
    device = chosen_device(options.device)
    data = open_probe_data(options, device)
    train, evaluation = _datasets(options, data)
    recipe = resolved_recipe(options, len(train))
    if notice := cut_notice(options, recipe, len(train)):
        print(notice)
    residency = choose_residency([train, evaluation], device, tier=options.tier, memory=options.memory)
    train_loader = TokenLoader(
        train,
        recipe.batch_size,
        shuffle=True,
        drop_last=True,
        seed=options.seed,
        device=device,
        residency=residency,
    )
    print(train_loader.describe())
    evaluation_loader = TokenLoader(
        evaluation, min(EVALUATION_BATCH, recipe.batch_size), device=device, residency=residency
    )
    setting = setting_from(
        recipe,
        batch_size=recipe.batch_size,
        steps_per_epoch=len(train_loader),
        seed=options.seed,
    )
    trials = [Trial(name, data.geometry.dim, data.num_classes, setting, device) for name in options.probe]
    name = options.name or free_run_name(options.runs, _run_name(options, data))

    def epoch_batches(epoch: int) -> Iterable[TokenBatch]:
        train_loader.set_epoch(epoch)
        return train_loader

    history: list[list[EpochResult]] = []
    config = _config(options, recipe, data) | {"residency": asdict(residency)}
    with RunFolder(options.runs / name, config) as folder:
        for results in fit(
            trials, data.inputs, epoch_batches, lambda: evaluation_loader, epochs=recipe.epochs
        ):
            history.append(results)
            for result in results:
                folder.log(result)
                print_epoch(result, recipe.epochs)
        summaries = _summaries(trials, history, recipe, data)
        folder.finish(summaries, trials)
    print_table(summaries, data.evaluation.name, folder.folder)
    return summaries


def _datasets(options: FitOptions, data: ProbeData) -> tuple[TokenDataset, TokenDataset]:
    """Train and evaluation records, with just the arrays that the probes read."""
    probes = [build_probe(name, data.geometry.dim, data.num_classes) for name in options.probe]
    arrays = data.inputs.arrays({probe.token_set for probe in probes})
    return (
        TokenDataset(data.train, data.block, arrays, verify=options.verify),
        TokenDataset(data.evaluation, data.block, arrays, verify=options.verify),
    )


def _run_name(options: FitOptions, data: ProbeData) -> str:
    probes = "+".join(options.probe) if len(options.probe) < 4 else f"{len(options.probe)}-probes"
    return f"{data.store.folder.resolve().name}-{data.dataset}-{probes}-{options.recipe}"


def _config(options: FitOptions, recipe: RecipeConfig, data: ProbeData) -> dict[str, Any]:
    """Everything that decided the run, as it was resolved."""
    return {
        "options": options.model_dump(mode="json"),
        "recipe": recipe.model_dump(mode="json"),
        "block": data.block,
        "tokens": data.inputs.state,
        "classes": list(data.train.manifest.classes),
        "backbone": data.store.manifest.backbone.model_dump(mode="json"),
        "stored_dtype": data.store.manifest.dtype,
        "train": data.train.manifest.dataset.model_dump(mode="json"),
        "evaluation": data.evaluation.manifest.dataset.model_dump(mode="json"),
    }


def _summaries(
    trials: Sequence[Trial],
    history: Sequence[Sequence[EpochResult]],
    recipe: RecipeConfig,
    data: ProbeData,
) -> list[TrialSummary]:
    return [
        _summary(trial, [results[number] for results in history], recipe, data)
        for number, trial in enumerate(trials)
    ]


def _summary(
    trial: Trial, epochs: Sequence[EpochResult], recipe: RecipeConfig, data: ProbeData
) -> TrialSummary:
    last, best = epochs[-1], max(epochs, key=lambda result: result.top1)
    return TrialSummary(
        probe=trial.name,
        parameters=trial.probe.num_parameters,
        top1_last=last.top1,
        top5_last=last.top5,
        top1_best=best.top1,
        best_epoch=best.epoch,
        loss=last.loss,
        seconds=trial.seconds,
        lr=trial.setting.lr,
        weight_decay=trial.setting.weight_decay,
        batch_size=recipe.batch_size,
        epochs=recipe.epochs,
        seed=trial.setting.seed,
        block=data.block,
        tokens=data.inputs.state,
    )

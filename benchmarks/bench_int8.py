"""What storing tokens in eight bits costs a probe: token error and accuracy against float32, on digits.

    python benchmarks/bench_int8.py [--json FILE] [--processes N] [--quick]

Tokens of the bundled backbone, computed once in float32, are encoded and decoded in memory in every dtype,
and in 8 bits with a scale for each token or for each of its groups of channels. LP, EP with 32 queries
(recipe `fast`) and k-NN on [CLS] then learn from them; each accuracy is compared with that of the same seed
on the float32 tokens. The digits' test part is small (one image is 0.28 points), so probes are also trained
on those 360 images and tested on the 1,437. `int8_tokens` says what outliers are planted in the tokens, and
why; `int8_codings` are the ways to store them.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from int8_codings import CODINGS
from int8_tokens import (
    BATCH,
    CONDITIONS,
    Condition,
    Splits,
    Tokens,
    computed_tokens,
    outlier_channels,
    tokens_of,
)
from pydantic import Field, PositiveInt
from report import JsonFile, machine_facts, save
from rich.console import Console
from rich.table import Table
from sklearn.neighbors import KNeighborsClassifier

from cache import seeded_permutation
from configs import FrozenModel, parse, run_command
from probe import (
    FedStack,
    FitOptions,
    TokenInputs,
    TrainingSetting,
    TrialStack,
    evaluate,
    train_epoch,
)
from probe.recipe import resolved_recipe
from probe.setting import scaled_lr

PROGRAM = "bench_int8.py"
SEEDS = range(5)
NEIGHBOURS, TEMPERATURE = 20, 0.07
VIT_B = (196, 1, 768)


class Int8Options(FrozenModel):
    """What storing tokens in eight bits costs a probe: token error, and accuracy against float32's."""

    processes: PositiveInt = Field(default=2, description="jobs at a time, one thread each")
    quick: bool = Field(default=False, description="one seed and epoch, to see that it runs; no real figures")
    json_: JsonFile = None


def stored(condition: Condition, coding: str) -> tuple[Splits, TokenInputs]:
    """The tokens as they come back from a store."""
    splits, inputs = tokens_of(condition)
    return {
        split: Tokens(*CODINGS[coding].decoded(tokens.patches, tokens.prefix), tokens.labels)
        for split, tokens in splits.items()
    }, inputs


def token_error(condition: Condition, coding: str) -> dict[str, float]:
    """A token's relative root mean square error over the ordinary channels: the mean, and the worst token."""
    exact, found = tokens_of(condition)[0]["test"], stored(condition, coding)[0]["test"]
    ordinary = torch.ones(exact.patches.shape[-1], dtype=torch.bool)
    if condition.magnitude:
        ordinary[outlier_channels(len(ordinary))] = False
    errors = {}
    for kind in ("patches", "prefix"):
        x, y = (getattr(tokens, kind)[..., ordinary].double() for tokens in (exact, found))
        relative = (y - x).norm(dim=-1) / x.norm(dim=-1)
        errors[kind], errors[f"{kind}_worst"] = relative.mean().item(), relative.max().item()
    return errors


def trained(
    data: tuple[Splits, TokenInputs],
    names: Sequence[str],
    seed: int,
    direction: tuple[str, str],
    epochs: int | None,
) -> list[float]:
    """Top-1 in percent of each probe, trained on one split and tested on another with recipe `fast`."""
    splits, inputs = data
    train, test = (splits[part] for part in direction)
    options = FitOptions(cache=Path(), recipe="fast", epochs=epochs)
    recipe = resolved_recipe(options, len(train))
    size, steps = recipe.batch_size, len(train) // recipe.batch_size
    (lr,), (decay,) = recipe.lr, recipe.weight_decay
    setting = TrainingSetting(recipe, scaled_lr(lr, recipe), decay, seed, steps)
    shape = (train.patches.shape[-1], int(train.labels.max()) + 1)
    stacks = [FedStack(TrialStack(name, *shape, [setting], torch.device("cpu")), inputs) for name in names]
    for epoch in range(recipe.epochs):
        order = torch.from_numpy(seeded_permutation(len(train), seed, stream=epoch))
        train_epoch(stacks, ([train.batch(images)] for images in order[: steps * size].split(size)))
    batches = ([test.batch(images)] for images in torch.arange(len(test)).split(BATCH))
    return [accuracy.top1 for (accuracy,) in evaluate(stacks, batches)]


def nearest_neighbours(data: tuple[Splits, TokenInputs], direction: tuple[str, str]) -> float:
    """Top-1 in percent of weighted k-NN on [CLS], by cosine similarity."""
    splits, inputs = data
    (x, y), (x_test, y_test) = (
        (inputs.select([part.batch(torch.arange(len(part)))], ["cls"])["cls"].numpy(), part.labels.numpy())
        for part in (splits[name] for name in direction)
    )
    model = KNeighborsClassifier(
        NEIGHBOURS, metric="cosine", weights=lambda distance: np.exp((1 - distance) / TEMPERATURE)
    )
    return 100 * float((model.fit(x, y).predict(x_test) == y_test).mean())


DIRECTIONS = {"360": ("train", "test"), "1437": ("test", "train")}
"""By the number of images tested on."""


@dataclass(frozen=True)
class Job:
    """One seed's probes on tokens that are stored in one way."""

    condition: Condition
    coding: str
    seed: int


def measured(job: Job, epochs: int | None) -> dict[str, float]:
    """Accuracies in percent: `probe/images tested on`."""
    torch.set_num_threads(1)
    data = stored(job.condition, job.coding)
    found = {}
    for images, direction in DIRECTIONS.items():
        names = ["lp", "ep32"] if job.condition.long or images == "1437" else ["lp"]
        for name, top1 in zip(names, trained(data, names, job.seed, direction, epochs), strict=True):
            found[f"{name}/{images}"] = top1
        if job.seed == 0:
            found[f"knn/{images}"] = nearest_neighbours(data, direction)
    return found


def _summary(
    condition: Condition, coding: str, results: dict[Job, dict[str, float]]
) -> dict[str, dict[str, Any]]:
    """By probe and images tested on: accuracies of the seeds, and their differences to float32 in points."""
    summary = {}
    for key in results[Job(condition, coding, 0)]:
        seeds = [seed for seed in SEEDS if key in results.get(Job(condition, coding, seed), {})]
        top1 = [results[Job(condition, coding, seed)][key] for seed in seeds]
        exact = [results[Job(condition, "float32", seed)][key] for seed in seeds]
        differences = [a - b for a, b in zip(top1, exact, strict=True)]
        summary[key] = {
            "top1": top1,
            "difference": statistics.mean(differences),
            "deviation": statistics.stdev(differences) if len(seeds) > 1 else None,
        }
    return summary


def _row(condition: Condition, coding: str, results: dict[Job, dict[str, float]]) -> dict[str, Any]:
    ours, float16 = (CODINGS[name].bytes(*VIT_B) for name in (coding, "float16"))
    means = 2 * 4 * VIT_B[2]
    return {
        "condition": condition.name,
        "coding": coding,
        "bytes_of_float16_vit_b": (ours + means) / (float16 + means),
        "token_error": token_error(condition, coding),
        "probes": _summary(condition, coding, results),
    }


def print_table(condition: Condition, rows: list[dict[str, Any]]) -> None:
    """One line for each coding; float32's own accuracies in the first."""
    table = Table(title=f"{condition.name}, tokens {condition.state}: accuracy − float32's, in points")
    table.add_column("stored as")
    table.add_column("bytes", justify="right")
    table.add_column("error, patches / [CLS]", justify="right")
    keys = list(rows[0]["probes"])
    for key in keys:
        table.add_column(key, justify="right")
    for row in rows:
        errors = row["token_error"]
        shown = [f"{row['bytes_of_float16_vit_b']:.3f}"]
        shown.append(f"{100 * errors['patches']:.2f} / {100 * errors['prefix']:.2f} %")
        for key in keys:
            found = row["probes"][key]
            spread = "" if found["deviation"] is None else f" ± {found['deviation']:.2f}"
            exact = row["coding"] == "float32"
            shown.append(
                f"{statistics.mean(found['top1']):.2f} %" if exact else f"{found['difference']:+.2f}{spread}"
            )
        table.add_row(row["coding"], *shown)
    Console(width=160).print(table)


def run(options: Int8Options) -> None:
    """Measure, print a table for each condition, save what is asked for."""
    torch.set_num_threads(1)  # before the processes are forked
    computed_tokens()
    conditions = CONDITIONS[:2] if options.quick else CONDITIONS
    seeds, epochs = (SEEDS[:1], 1) if options.quick else (SEEDS, None)
    jobs = [Job(*job) for job in product(conditions, CODINGS, seeds)]
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(options.processes, mp_context=context) as processes:
        results = dict(zip(jobs, processes.map(partial(measured, epochs=epochs), jobs), strict=True))
    rows = []
    for condition in conditions:
        found = [_row(condition, coding, results) for coding in CODINGS]
        print_table(condition, found)
        rows += found
    if options.json_ is not None:
        save(options.json_, script=PROGRAM, machine=machine_facts(), seeds=len(seeds), rows=rows)


if __name__ == "__main__":
    sys.exit(run_command(PROGRAM, lambda: run(parse(Int8Options, prog=PROGRAM))))

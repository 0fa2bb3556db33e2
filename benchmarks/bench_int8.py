"""What storing tokens in eight bits costs a probe: token error and accuracy against float32, on digits.

    python benchmarks/bench_int8.py [--json FILE] [--processes N] [--quick]

Tokens of the bundled backbone, computed once in float32, are encoded and decoded in memory in every dtype,
and in 8 bits with a scale for each token or for each of its groups of channels. LP, EP with 32 queries
(recipe `fast`) and k-NN on [CLS] then learn from them; each accuracy is compared with that of the same seed
on the float32 tokens. The digits' test part is small (one image is 0.28 points), so probes are also trained
on those 360 images and tested on the 1,437.

Planted outliers. Large ViTs have a handful of channels with values of some hundreds where a typical |x| is
about 1, nearly the same for every image (Sun et al. 2024, arXiv 2402.17762: above 100, and a thousand times
the median), and about 2 % of patch tokens with ten times the others' norm (Darcet et al. 2024, arXiv
2309.16588). The bundled ViT has neither. So four channels, spread evenly over the width, get a constant
added, of alternating sign: `magnitude` standard deviations of all tokens, with 3 % of jitter from token to
token; and 2 % of the patches are multiplied by ten. What the network computed stays in the tokens, beneath
the outliers. The channels are planted in every token, the worst case, or, `few`, in [CLS] and those 2 %
alone, as the paper describes them. Tokens `post` the final norm come from a norm whose weight makes up for
the plant, as a trained network's does: it divides the outliers by their magnitude and restores the others.
k-NN of the outliers `pre` says little, in float32 too: a cosine sees the planted constants and nothing else.

The wide tokens are those of all six blocks side by side (D = 576), channels shuffled, every second row and
column of the grid: nine groups of 64, four of them hit.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache as memoized
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from pydantic import Field, PositiveInt
from report import machine_facts, save
from rich.console import Console
from rich.table import Table
from sklearn.neighbors import KNeighborsClassifier

from cache import FinalNorm, TokenBatch, decode, encode, seeded_permutation
from configs import FrozenModel, TokenState, optional, parse, run_command
from extract import open_backbone
from extract.images import to_rgb
from extract.sources import open_dataset
from extract.transform import image_transform
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
OUTLIERS, JITTER, ARTIFACTS, ARTIFACT_NORM = 4, 0.03, 0.02, 10
NEIGHBOURS, TEMPERATURE = 20, 0.07
VIT_B = (196, 1, 768)
BATCH = 256


class Int8Options(FrozenModel):
    """What storing tokens in eight bits costs a probe: token error, and accuracy against float32's."""

    processes: PositiveInt = Field(default=2, description="jobs at a time, one thread each")
    quick: bool = Field(default=False, description="one seed and epoch, to see that it runs; no real figures")
    json_: Annotated[Path | None, tyro.conf.arg(name="json"), optional("FILE")] = Field(
        default=None, description="save every number and the facts of the machine; not by default"
    )


@dataclass(frozen=True)
class Tokens:
    """Images of one split: patches (n, N, D), prefix (n, 1, D), labels (n,)."""

    patches: torch.Tensor
    prefix: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, images: torch.Tensor) -> TokenBatch:
        """The `images` (positions), as a store would give them."""
        return TokenBatch(
            self.labels[images], images, patches=self.patches[images], prefix=self.prefix[images]
        )


Splits = dict[str, Tokens]


@dataclass(frozen=True)
class Condition:
    """What is stored, and how it is read. Without `long`, EP is trained on the 360 images alone."""

    name: str
    magnitude: float = 0
    few: bool = False
    wide: bool = False
    state: TokenState = "pre"
    long: bool = False


CONDITIONS = (
    Condition("bundled", long=True),
    Condition("outliers 30 ×", 30),
    Condition("outliers 300 ×", 300, long=True),
    Condition("outliers 300 ×, post", 300, state="post"),
    Condition("outliers 300 ×, few", 300, few=True),
    Condition("outliers 300 ×, wide", 300, wide=True),
)


# --- ways to store tokens


@dataclass(frozen=True)
class Coding:
    """A way to store tokens: (patches, prefix) → the same, decoded; and bytes of one sample of (N, P, D)."""

    decoded: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
    bytes: Callable[[int, int, int], int]


def _floats(dtype: torch.dtype) -> Coding:
    return Coding(
        lambda patches, prefix: (patches.to(dtype).float(), prefix.to(dtype).float()),
        lambda n, p, d: (n + p) * d * dtype.itemsize,
    )


def _stored_int8(patches: torch.Tensor, prefix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What a store with `--dtype int8` gives back."""
    encoded = encode(patches, "int8")
    assert encoded.finite()
    return decode(encoded.tokens, encoded.scales), prefix.half().float()


def _rounded_in_groups(tokens: torch.Tensor, width: int) -> torch.Tensor:
    """(…, D) tokens as codes of 8 bits, times a scale for each token and `width` channels."""
    groups = []
    for channels in tokens.split(width, dim=-1):
        scale = (channels.abs().amax(dim=-1, keepdim=True) / 127).half().float()
        groups.append(torch.where(scale > 0, channels / scale, 0.0).round().clamp(-127, 127) * scale)
    return torch.cat(groups, dim=-1)


def _grouped(width: int) -> Coding:
    return Coding(
        lambda patches, prefix: (_rounded_in_groups(patches, width), _rounded_in_groups(prefix, width)),
        lambda n, p, d: (n + p) * (d + 2 * -(-d // width)),
    )


CODINGS = {
    "float32": _floats(torch.float32),
    "float16": _floats(torch.float16),
    "bfloat16": _floats(torch.bfloat16),
    "int8": Coding(_stored_int8, lambda n, p, d: n * d + 2 * (n + d) + 2 * p * d),
    "8 bits, a scale per token": _grouped(10**6),
    "8 bits, groups of 64": _grouped(64),
    "8 bits, groups of 32": _grouped(32),
}


# --- tokens


@memoized
def _computed() -> tuple[FinalNorm, dict[str, list[Tokens]]]:
    """The bundled backbone's final norm, and each split's tokens after each of its blocks."""
    backbone = open_backbone("mae_digits")
    transform = image_transform(backbone.transform)
    dataset = open_dataset("digits")
    blocks = range(len(backbone.blocks))
    found = {}
    for split in ("train", "test"):
        source = dataset.open(split)
        images = [torch.from_numpy(transform(to_rgb(source.load(i)))) for i in range(len(source))]
        parts = [backbone(torch.stack(images[i : i + BATCH]), blocks) for i in range(0, len(images), BATCH)]
        labels = torch.as_tensor(source.labels)
        found[split] = [
            Tokens(
                torch.cat([part[block].patches for part in parts]),
                torch.cat([part[block].prefix for part in parts]),
                labels,
            )
            for block in blocks
        ]
    assert backbone.final_norm is not None
    return backbone.final_norm, found


def _wide(blocks: list[Tokens]) -> Tokens:
    patches = torch.cat([block.patches for block in blocks], dim=-1)
    prefix = torch.cat([block.prefix for block in blocks], dim=-1)
    order = torch.from_numpy(seeded_permutation(patches.shape[-1], 0))
    side = round(patches.shape[1] ** 0.5)
    quarter = patches.unflatten(1, (side, side))[:, ::2, ::2].flatten(1, 2)
    return Tokens(quarter[..., order], prefix[..., order], blocks[0].labels)


def _outlier_channels(dim: int) -> torch.Tensor:
    return (torch.arange(OUTLIERS) * 2 + 1) * dim // (2 * OUTLIERS)


def _planted(tokens: Tokens, deviation: float, condition: Condition, seed: int) -> Tokens:
    generator = torch.Generator().manual_seed(seed)
    channels = _outlier_channels(tokens.patches.shape[-1])
    signs = torch.tensor([1.0, -1.0]).repeat(OUTLIERS)[:OUTLIERS]
    artifacts = torch.rand(tokens.patches.shape[:2], generator=generator) < ARTIFACTS
    planted = []
    for found in (tokens.patches, tokens.prefix):
        added = condition.magnitude * deviation * signs
        jitter = 1 + JITTER * torch.randn((*found.shape[:2], OUTLIERS), generator=generator)
        where = artifacts.unsqueeze(-1) if condition.few and found is tokens.patches else 1.0
        changed = found.clone()
        changed[..., channels] += added * jitter * where
        planted.append(changed)
    planted[0][artifacts] *= ARTIFACT_NORM
    return Tokens(planted[0], planted[1], tokens.labels)


def _norm_after_planting(norm: FinalNorm, before: Tokens, after: Tokens, magnitude: float) -> FinalNorm:
    """The norm with a weight that makes up for the planted channels."""
    grown = (after.patches.std(dim=-1) / before.patches.std(dim=-1)).median()
    assert norm.weight is not None
    weight = norm.weight * grown
    weight[_outlier_channels(len(weight))] /= magnitude
    return FinalNorm(norm.kind, norm.eps, weight, norm.bias)


@memoized
def tokens_of(condition: Condition) -> tuple[Splits, TokenInputs]:
    """The float32 tokens of each split, and how a probe reads them."""
    norm, blocks = _computed()
    splits = {split: _wide(found) if condition.wide else found[-1] for split, found in blocks.items()}
    if condition.magnitude:
        deviation = float(splits["train"].patches.std())
        planted = {
            split: _planted(tokens, deviation, condition, seed)
            for seed, (split, tokens) in enumerate(splits.items())
        }
        norm = (
            norm
            if condition.wide
            else _norm_after_planting(norm, splits["train"], planted["train"], condition.magnitude)
        )
        splits = planted
    return splits, TokenInputs(condition.state, norm, cls=0)


def stored(condition: Condition, coding: str) -> tuple[Splits, TokenInputs]:
    """The tokens as they come back from a store."""
    splits, inputs = tokens_of(condition)
    return {
        split: Tokens(*CODINGS[coding].decoded(tokens.patches, tokens.prefix), tokens.labels)
        for split, tokens in splits.items()
    }, inputs


# --- measurements


def token_error(condition: Condition, coding: str) -> dict[str, float]:
    """A token's relative root mean square error over the ordinary channels: the mean, and the worst token."""
    exact, found = tokens_of(condition)[0]["test"], stored(condition, coding)[0]["test"]
    ordinary = torch.ones(exact.patches.shape[-1], dtype=torch.bool)
    if condition.magnitude:
        ordinary[_outlier_channels(len(ordinary))] = False
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
    _computed()
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

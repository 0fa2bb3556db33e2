"""The options of `probe fit`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeAlias, TypeVar

import tyro
from pydantic import (
    Field,
    NonNegativeInt,
    PositiveInt,
    field_validator,
)

from cache import Tier
from configs import (
    Floats,
    FrozenModel,
    Headings,
    Integers,
    Json,
    Known,
    Names,
    Quiet,
    Size,
    names,
    optional,
    unknown_name,
)
from probe.names import CLOSED_FORM, known_names, probe_spec
from probe.token_inputs import Combination
from probe.tracking import TRACKERS

ViewPolicy: TypeAlias = Literal["plain", "random", "all"]
"""plain: the evaluation view. random: drawn for each image and epoch. all: each, in every epoch."""

ValueT = TypeVar("ValueT")
NumberT = TypeVar("NumberT", int, float)


class FitOptions(FrozenModel):
    """Train linear and attentive probes from a store, all on the same batches.

    Options that take several values span a grid, which is trained in one read of the tokens: trials of one
    probe are stacked and take each step together. The word fit may be left out. A run that was stopped goes
    on when the same command is given again.

    Examples:
      probe --cache cache/mae_digits --probe lp,ep16 --recipe fast
      probe --cache cache/mae_vitl --probe ep32
      probe --cache cache/mae_vitl --probe lp,ep8,aim --lr 0.05,0.1,0.2 --seed 0,1,2
      probe --cache cache/mae_vitl --probe lp_mean,ep32 --block all
      probe --cache cache/mae_vitl --probe knn,logreg,ep32 --shots 1,5,10 --draws 5
      probe --cache cache/mae_digits --recipe fast --quiet --json | jq .answers
    """

    HEADINGS: ClassVar[Headings] = {
        "tokens": (
            "cache",
            "dataset",
            "train_split",
            "eval_split",
            "block",
            "combine",
            "tokens",
            "view_policy",
        ),
        "probes and their training": (
            *("probe", "recipe", "epochs", "batch_size", "lr", "weight_decay", "seed", "sweep"),
            *("order_seed", "precision"),
        ),
        "fewer training images": ("shots", "fraction", "draws"),
        "choosing among settings": ("held_out", "every_epoch", "prune"),
        "nearest neighbours": ("neighbours", "temperature", "retrieval"),
        "the machine": ("device", "tier", "memory", "training_memory", "kernel", "verify"),
        "results": ("runs", "name", "report", "track", "quiet", "json_"),
    }

    cache: Path = Field(description="the store that `extract` made")
    dataset: Annotated[str | None, optional("NAME")] = Field(
        default=None, description="the data set, where the store holds several"
    )
    sweep: Annotated[str | None, optional("NAME"), Known(partial(names, "sweeps"))] = Field(
        default=None,
        description="a named grid of configs/sweeps; options that differ from their defaults replace its own",
    )
    probe: Annotated[Names, Known(known_names)] = Field(
        default=("lp", "ep32"),
        description="lp ([CLS]), lp_mean (mean patch token), epM (efficient probing with M queries), aim, "
        "vjepa, …, knn, logreg; +cls adds [CLS] to the tokens; `probe list` prints all",
    )
    recipe: Annotated[str, Known(partial(names, "recipes")), tyro.conf.arg(metavar="NAME")] = Field(
        default="paper",
        description="the published training protocol to follow, a name in configs/recipes: paper, mae, "
        "dinov2, capi, vjepa, fast",
    )
    epochs: Annotated[PositiveInt | None, optional("INT")] = Field(
        default=None, description="how many, instead of the recipe's"
    )
    batch_size: Annotated[PositiveInt | None, optional("INT")] = Field(
        default=None, description="images in a step, instead of the recipe's"
    )
    lr: Floats = Field(
        default=(),
        description="learning rates instead of the recipe's, per 256 images where that one is; a grid",
    )
    weight_decay: Floats = Field(default=(), description="instead of the recipe's; a grid")
    seed: Integers = Field(
        default=(0,), description="seeds of the probes' start; a grid, averaged in the results"
    )
    block: Names = Field(
        default=(), description="which blocks: numbers or all, a grid; without it, the last one stored"
    )
    combine: Annotated[Combination | None, optional("concat|mean")] = Field(
        default=None, description="make one set of tokens of all --block: channels side by side, or the mean"
    )
    tokens: Names = Field(
        default=(),
        description="pre, post: before or after the backbone's final norm, a grid; without it, what "
        "published probes of this backbone read",
    )
    shots: Integers = Field(default=(), description="train on so many images of each class, a grid")
    fraction: Floats = Field(default=(), description="train on this share of each class, a grid")
    draws: PositiveInt = Field(default=1, description="random draws of --shots and --fraction")
    order_seed: NonNegativeInt = Field(
        default=0, le=2**32 - 1, description="seed of the order of the batches and of draws, for all trials"
    )
    held_out: Annotated[float | None, optional("SHARE")] = Field(
        default=None,
        ge=0,
        le=0.5,
        description="share of the training images, by class, that choose among learning rates and weight "
        "decays; without it, 0.1 where there is something to choose",
    )
    every_epoch: bool = Field(
        default=False,
        description="measure on the evaluation split after every epoch, for the best epoch that papers "
        "report; a run that chooses nothing always does",
    )
    prune: bool = Field(
        default=False,
        description="successive halving: after 1/8, 1/4 and 1/2 of the epochs, drop the half of the learning "
        "rates and weight decays that are worst on the held-out images",
    )
    neighbours: Integers = Field(default=(10, 20, 100, 200), description="k of knn, a grid")
    temperature: Floats = Field(default=(0.07,), description="T of knn's votes exp(similarity / T), a grid")
    retrieval: bool = Field(default=False, description="knn also reports R@1, R@5 and mAP")
    train_split: str = Field(default="train", description="the split to train on")
    view_policy: Annotated[ViewPolicy | None, optional("plain|random|all")] = Field(
        default=None,
        description="which view of training images that were extracted with --views: the plain one, one "
        "drawn for each image and epoch, or all in every epoch; without it, random where there are several. "
        "knn and logreg read the plain one",
    )
    eval_split: Annotated[str | None, optional("NAME")] = Field(
        default=None, description="the split to evaluate on; without it, validation, val or test"
    )
    device: Annotated[str | None, optional("NAME")] = Field(
        default=None, description="cuda, cpu, …; without it, the fastest there is"
    )
    tier: Annotated[Tier | None, optional("device|host|stream")] = Field(
        default=None,
        description="where tokens are kept while training: all on the device, all in host memory, or read "
        "from disk in every epoch; without it, the first that fits",
    )
    memory: Annotated[Size | None, optional("SIZE")] = Field(
        default=None,
        gt=0,
        description="host memory for streaming, such as 8GiB, of each process: decides how widely records "
        "are mixed; without it, up to a quarter of what is free for all",
    )
    training_memory: Annotated[Size | None, optional("SIZE")] = Field(
        default=None,
        gt=0,
        description="memory for trials; what does not fit is trained in several passes; without it, half of "
        "what is free",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="precision of the products with the tokens, in ep, mhca, capi and coca; all else is "
        "float32",
    )
    kernel: Literal["auto", "plain"] = Field(
        default="auto",
        description="of ep, mhca, capi and coca on a CUDA device: fused where it fits and computes, or plain "
        "matrix products; a CPU has the latter alone",
    )
    verify: bool = Field(default=False, description="check every record's checksum as it is read")
    runs: Path = Field(default=Path("runs"), description="the folder that holds all runs")
    name: Annotated[str | None, optional("NAME")] = Field(
        default=None,
        description="this run's folder; without it, made from store, probes and recipe",
    )
    report: bool = Field(
        default=True,
        description="write report.html with pictures into the run's folder, which takes a second or two",
    )
    track: Annotated[Names, Known(lambda: (*TRACKERS, "none"))] = Field(
        default=("tensorboard",),
        description="where learning curves go: tensorboard (into the run's folder), wandb, mlflow, or none",
    )
    quiet: Quiet = False
    json_: Json = False

    @field_validator("probe")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        full_names = tuple(n if n in CLOSED_FORM else probe_spec(n).name for n in names)  # `ep` is `ep32`
        return _distinct(full_names, at_least=1)

    @field_validator("track")
    @classmethod
    def _trackers(cls, found: tuple[str, ...]) -> tuple[str, ...]:
        if found == ("none",):
            return ()
        for name in found:
            if name not in TRACKERS:
                raise unknown_name("tracker", name, (*TRACKERS, "none"))
        return _distinct(found)

    @field_validator("lr", "weight_decay", "seed", "block", "shots", "fraction", "neighbours", "temperature")
    @classmethod
    def _values_once(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        return _distinct(values)

    @field_validator("tokens")
    @classmethod
    def _states(cls, states: tuple[str, ...]) -> tuple[str, ...]:
        for state in states:
            if state not in ("pre", "post"):
                raise unknown_name("token state", state, ("pre", "post"))
        return _distinct(states)

    @field_validator("lr", "temperature")
    @classmethod
    def _positive(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        return _within(values, 1e-12, 1e6)

    @field_validator("weight_decay")
    @classmethod
    def _not_negative(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        return _within(values, 0, 1e6)

    @field_validator("seed")
    @classmethod
    def _seeds(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        return _within(_distinct(values, at_least=1), 0, 2**32 - 1)

    @field_validator("shots", "neighbours")
    @classmethod
    def _counts(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        return _within(values, 1, 10**9)

    @field_validator("fraction")
    @classmethod
    def _shares(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        return _within(values, 1e-9, 1)

    @field_validator("name")
    @classmethod
    def _inside_runs(cls, name: str | None) -> str | None:
        if name is not None and (name.strip() in ("", ".", "..") or "/" in name or not name.isprintable()):
            raise ValueError("give the name of a folder inside --runs, not a path")
        return name


def _distinct(values: tuple[ValueT, ...], at_least: int = 0) -> tuple[ValueT, ...]:
    if len(values) < at_least or len(set(values)) < len(values):
        raise ValueError("name each once" if values else "name one or more")
    return values


def _within(values: tuple[NumberT, ...], least: float, most: float) -> tuple[NumberT, ...]:
    for value in values:
        if not least <= value <= most:
            raise ValueError(f"{value:g} is not between {least:g} and {most:g}")
    return values

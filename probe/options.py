"""The options of `probe fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
)

from cache import Tier
from configs import FrozenModel, Names, Size, TokenState, optional
from probe.names import probe_spec


class FitOptions(FrozenModel):
    """Train linear and attentive probes from a store, all on the same batches.

    Examples:
      probe --cache cache/mae_digits --probe lp,ep16 --recipe fast
      probe --cache cache/mae_vitl --probe ep32
    """

    cache: Path = Field(description="the store that `extract` made")
    dataset: Annotated[str | None, optional("NAME")] = Field(
        default=None, description="which, where the store holds several"
    )
    probe: Names = Field(
        default=("lp", "ep32"),
        description="lp ([CLS]), lp_mean (mean patch token), epM (efficient probing with M queries), "
        "epM_dK (output width divided by K), epM+cls ([CLS] among the tokens)",
    )
    recipe: str = Field(
        default="paper", description="training protocol, a name in configs/recipes: paper, fast"
    )
    epochs: Annotated[PositiveInt | None, optional("INT")] = Field(
        default=None, description="instead of the recipe's"
    )
    batch_size: Annotated[PositiveInt | None, optional("INT")] = Field(
        default=None, description="instead of the recipe's"
    )
    lr: Annotated[PositiveFloat | None, optional("NUMBER")] = Field(
        default=None, le=1e6, description="instead of the recipe's; per 256 images where that one is"
    )
    weight_decay: Annotated[NonNegativeFloat | None, optional("NUMBER")] = Field(
        default=None, description="instead of the recipe's"
    )
    seed: NonNegativeInt = Field(default=0, le=2**32 - 1, description="of the probes' start and the batches")
    tokens: Annotated[TokenState | None, optional("pre|post")] = Field(
        default=None,
        description="before or after the backbone's final norm; without it, what published probes "
        "of this backbone read",
    )
    block: Annotated[int | None, optional("INT")] = Field(
        default=None, description="which block; without it, the last one stored"
    )
    train_split: str = Field(default="train", description="the split to train on")
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
        description="for streaming, such as 8GiB: decides how widely records are mixed; without it, up to a "
        "quarter of what is free",
    )
    verify: bool = Field(default=False, description="check every record's checksum as it is read")
    runs: Path = Field(default=Path("runs"), description="the folder that holds all runs")
    name: Annotated[str | None, optional("NAME")] = Field(
        default=None,
        description="this run's folder; without it, made from store, probes and recipe",
    )

    @field_validator("probe")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        full_names = tuple(probe_spec(name).name for name in names)  # `ep` is `ep32`
        if not full_names or len(set(full_names)) < len(full_names):
            raise ValueError("name one probe or more, each once")
        return full_names

    @field_validator("name")
    @classmethod
    def _inside_runs(cls, name: str | None) -> str | None:
        if name is not None and (name in ("", ".", "..") or "/" in name):
            raise ValueError("give the name of a folder inside --runs, not a path")
        return name

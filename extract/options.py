"""The options of `extract`, and those that it shares with its plan."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, Self

import tyro
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from cache import StoreFormat, TokenDtype
from configs import FrozenModel, UserError, optional
from extract.backbone import Amp
from extract.part import Part, PartOption

MOST_VIEWS = 2**16

# options that `extract`, `cache plan` and `cache repair` share
Device = Annotated[
    str | None, optional("NAME"), Field(description="cuda, cpu, …; without it, the fastest there is")
]
HubColumn = Annotated[
    str | None,
    optional("NAME"),
    Field(description="of hf:, parquet: and csv:; of webdataset: a file's extension or a JSON key"),
]


class TokenOptions(FrozenModel):
    """Whose tokens of which images, where to, and with what: what `extract` and `cache plan` share."""

    backbone: str = Field(
        description="a name that `extract --list` shows, timm:NAME, timm:hf-hub:OWNER/NAME, hf:OWNER/MODEL "
        "(transformers), openclip:MODEL/PRETRAINED, torchhub:OWNER/REPO/ENTRY, or python:MODULE.FUNCTION, "
        "which gives your own; the code of the last two runs here"
    )
    dataset: str = Field(
        description="a name in configs/datasets, folder:PATH (one folder per class, inside train/, "
        "val/, … or not), hf:OWNER/NAME[:CONFIG] on the Hugging Face Hub, parquet:, webdataset: or csv:PATH; "
        "NAME=KIND:PLACE for a named one that lies elsewhere"
    )
    split: Annotated[str | None, optional("NAME")] = Field(
        default=None, description="the split to extract; without it, all"
    )
    weights: Annotated[str | None, optional("FILE|none")] = Field(
        default=None, description="a checkpoint file instead of the named weights; none: random"
    )
    blocks: str = Field(default="last", description="last, all, or a list such as 5,11 (-1: the last)")
    dtype: TokenDtype = Field(default="float16", description="how tokens are stored")
    out: Annotated[Path | None, optional("PATH")] = Field(
        default=None, description="the store; without it, cache/BACKBONE"
    )
    force: bool = Field(default=False, description="go on although the disk cannot hold the tokens")
    limit: Annotated[PositiveInt | None, optional("INT")] = Field(
        default=None, description="only so many samples, drawn by the record order's seed"
    )
    batch_size: PositiveInt = Field(default=64, description="images in a forward pass")
    workers: Annotated[NonNegativeInt | None, optional("INT")] = Field(
        default=None, description="image-decoding processes; without it, one per core, at most 16"
    )
    device: Device = None
    amp: Amp = Field(default="none", description="mixed precision of the forward pass")
    image_column: HubColumn = None
    label_column: HubColumn = None

    @property
    def decoding_processes(self) -> int:
        """`workers`, or what stands for it; 0: the main process decodes."""
        return min(16, os.cpu_count() or 1) if self.workers is None else self.workers


class ExtractOptions(TokenOptions):
    """Run a frozen backbone once over a data set and store its tokens.

    An interrupted run goes on where it stopped when the same command is given again.

    Examples:
      extract --list      (all named backbones, and how far each is proven)
      extract --backbone mae_digits --dataset digits
      extract --backbone mae_vitl --dataset imagenet --amp bfloat16 --batch-size 256
      extract --backbone timm:vit_small_patch16_224.dino --dataset folder:~/photos --blocks all
      extract --backbone mae_vitl --dataset imagenet --part $SLURM_ARRAY_TASK_ID/16    (--array=1-16)
    """

    plan: bool = Field(
        default=False,
        description="extract nothing: print what it would cost (`cache plan` has more options for that)",
    )
    format: StoreFormat = Field(default="zarr", description="Zarr v3, or HDF5")
    part: PartOption = Field(
        default=Part(1, 1),
        description="extract only this of N parts: for jobs that share the folder and need no launcher, such "
        "as a cluster's job array; in any order, at once or not",
    )
    on_error: Annotated[Literal["stop", "skip"], tyro.conf.arg(name="on-error")] = Field(
        default="stop",
        description="an image that cannot be read: stop, or record it and leave it out",
    )
    views: PositiveInt = Field(
        default=1,
        le=MOST_VIEWS,
        description="versions of each training image: the plain one, and augmented ones (evaluation splits "
        "keep one)",
    )
    augment: Annotated[Literal["rrc_flip"] | None, optional("rrc_flip")] = Field(
        default=None,
        description="what makes the other views: rrc_flip, crops of 0.08 to 1 of the image's area and "
        "horizontal flips at random",
    )
    augment_seed: NonNegativeInt = Field(default=0, le=2**32 - 1, description="of the augmented views")
    seed: NonNegativeInt = Field(default=0, le=2**32 - 1, description="of the record order")
    shard_size: Annotated[PositiveInt | None, optional("INT")] = Field(
        default=None, description="records in a shard; without it, about 256 MiB of patches"
    )

    @model_validator(mode="after")
    def _views_are_told_whole(self) -> Self:
        if (self.views > 1) != (self.augment is not None):
            raise ValueError("--views (2 or more) and --augment go together: give both, or neither")
        if self.plan and self.views > 1:
            raise ValueError("--plan counts one view: leave --views and --augment out of it")
        return self


def is_training(split: str) -> bool:
    """Whether `--views` is for `split`: train, training, trainval, …."""
    return split.startswith("train")


def chosen_blocks(text: str, depth: int) -> tuple[int, ...]:
    """Block numbers, ascending, of `last`, `all` or a list. Raises `UserError`."""
    if text == "last":
        return (depth - 1,)
    if text == "all":
        return tuple(range(depth))
    try:
        numbers = {int(part) for part in text.split(",")}
    except ValueError:
        raise UserError(f"--blocks {text}: give last, all, or numbers such as 5,11") from None
    if any(not -depth <= number < depth for number in numbers):
        raise UserError(f"--blocks {text}: the backbone has blocks 0 to {depth - 1}")
    return tuple(sorted({number % depth for number in numbers}))

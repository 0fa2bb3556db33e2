"""The options of `extract`, and those that it shares with its plan."""

from __future__ import annotations

import os
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import tyro
from pydantic import Field, JsonValue, NonNegativeInt, PositiveInt, model_validator

from cache import StoreFormat, TokenDtype
from configs import FrozenModel, Headings, Json, Known, Quiet, UserError, names, optional
from extract.backbone import Amp
from extract.batch_option import BatchSize
from extract.part import Part, PartOption
from extract.transform import DECODE, DECODE_SCALE, RESIZE

MOST_VIEWS = 2**16
AugmentationName = Literal["rrc_flip", "rrc_mild"]

# options that `extract`, `cache plan` and `cache repair` share
BackboneName = Annotated[str, tyro.conf.arg(metavar="NAME"), Known(partial(names, "backbones"))]
DatasetName = Annotated[str, tyro.conf.arg(metavar="NAME"), Known(partial(names, "datasets"))]
Device = Annotated[
    str | None, optional("NAME"), Field(description="cuda, cpu, …; without it, the fastest there is")
]
HubColumn = Annotated[
    str | None,
    optional("NAME"),
    Field(
        description="its column, of hf:, parquet: and csv:; of webdataset: the file's extension or a JSON key"
    ),
]


def decoding_processes(workers: int | None) -> int:
    """What `--workers` says; without it, one per core, at most 16. 0: the main process decodes."""
    return min(16, os.cpu_count() or 1) if workers is None else workers


class TokenOptions(FrozenModel):
    """Whose tokens of which images, where to, and with what: what `extract` and `cache plan` share."""

    HEADINGS: ClassVar[Headings] = {
        "the backbone": ("backbone", "weights", "blocks", "amp"),
        "the images": ("dataset", "split", "limit", "image_column", "label_column"),
        "augmented views": ("views",),
        "the store": ("out", "dtype", "thumbnails", "force"),
        "the machine": ("batch_size", "workers", "device", "part"),
    }

    backbone: BackboneName = Field(
        description="a name that `extract --list` shows, timm:NAME, timm:hf-hub:OWNER/NAME, hf:OWNER/MODEL "
        "(transformers), openclip:MODEL/PRETRAINED, torchhub:OWNER/REPO/ENTRY, or python:MODULE.FUNCTION, "
        "which gives your own; the code of the last two runs here"
    )
    dataset: DatasetName = Field(
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
    blocks: Annotated[str, tyro.conf.arg(metavar="last|all|INT[,INT…]")] = Field(
        default="last", description="which blocks' tokens, such as 5,11 (-1: the last)"
    )
    dtype: TokenDtype = Field(default="float16", description="how tokens are stored")
    out: Annotated[Path | None, optional("PATH")] = Field(
        default=None, description="the store; without it, cache/BACKBONE"
    )
    force: bool = Field(default=False, description="go on although the disk cannot hold the tokens")
    limit: Annotated[PositiveInt | None, optional("INT")] = Field(
        default=None, description="only so many samples, drawn by the record order's seed"
    )
    thumbnails: Annotated[PositiveInt | None, optional("PIXELS")] = Field(
        default=None,
        le=1024,
        description="keep a small picture of each image as the backbone saw it, its longer side at most so "
        "many pixels: for `probe attention`",
    )
    views: PositiveInt = Field(
        default=1,
        le=MOST_VIEWS,
        description="versions of each training image: the plain one, and augmented ones (evaluation splits "
        "keep one)",
    )
    part: PartOption = Field(
        default=Part(1, 1),
        description="extract only this of N parts: for jobs that share the folder and need no launcher, such "
        "as a cluster's job array; in any order, at once or not",
    )
    batch_size: BatchSize = Field(
        default=64,
        description="images in a forward pass; auto: tried, and a store keeps to what was found",
    )
    workers: Annotated[NonNegativeInt | None, optional("INT")] = Field(
        default=None, description="image-decoding processes; without it, one per core, at most 16"
    )
    device: Device = None
    amp: Amp = Field(default="none", description="mixed precision of the forward pass")
    image_column: HubColumn = None
    label_column: HubColumn = None

    @property
    def decoding_processes(self) -> int:
        """`workers`, or what stands for it."""
        return decoding_processes(self.workers)


class ExtractOptions(TokenOptions):
    """Run a frozen backbone once over a data set and store its tokens.

    An interrupted run goes on where it stopped when the same command is given again.

    Examples:
      extract --list
      extract --backbone mae_digits --dataset digits
      extract --backbone mae_vitl --dataset imagenet --amp bfloat16 --batch-size 256
      extract --backbone timm:vit_small_patch16_224.dino --dataset folder:~/photos
      extract --backbone mae_vitl --dataset imagenet --part $SLURM_ARRAY_TASK_ID/16
      extract --backbone mae_digits --dataset digits --quiet --json | jq .splits
    """

    HEADINGS: ClassVar[Headings] = {
        "the backbone": ("backbone", "list_", *TokenOptions.HEADINGS["the backbone"][1:]),
        "the images": (*TokenOptions.HEADINGS["the images"], "on_error"),
        "augmented views": ("views", "augment", "augment_seed"),
        "the store": (*TokenOptions.HEADINGS["the store"], "format", "shard_size", "seed"),
        "the machine": (
            *TokenOptions.HEADINGS["the machine"],
            *("compile", "channels_last", "decode", "resize", "decode_scale"),
        ),
        "results": ("plan", "quiet", "json_"),
    }

    list_: Annotated[bool, tyro.conf.arg(name="list")] = Field(
        default=False,
        description="show all named backbones, and how far each is proven; no other option is needed then",
    )
    quiet: Quiet = False
    json_: Json = False
    plan: bool = Field(
        default=False,
        description="extract nothing: print what it would cost (`cache plan` has more options for that)",
    )
    format: StoreFormat = Field(default="zarr", description="Zarr v3, or HDF5")
    on_error: Annotated[Literal["stop", "skip"], tyro.conf.arg(name="on-error")] = Field(
        default="stop",
        description="an image that cannot be read: stop, or record it and leave it out",
    )
    augment: Annotated[AugmentationName | None, optional("rrc_flip|rrc_mild")] = Field(
        default=None,
        description="what makes the other views: rrc_flip, crops of 0.08 to 1 of the image's area and "
        "horizontal flips at random; rrc_mild, crops of 0.5 to 1 and no flips, for digits, text or signs",
    )
    augment_seed: Annotated[NonNegativeInt | None, optional("INT")] = Field(
        default=None, le=2**32 - 1, description="seed of the augmented views; without it, 0"
    )
    seed: NonNegativeInt = Field(default=0, le=2**32 - 1, description="seed of the order of records")
    shard_size: Annotated[PositiveInt | None, optional("INT")] = Field(
        default=None, description="records in a shard; without it, about 256 MiB of patches"
    )
    channels_last: bool = Field(
        default=False,
        description="let images and convolutions lie in memory with the channels last; may be faster for "
        "convolutional backbones, see docs/extraction_speed.md",
    )
    compile: bool = Field(
        default=False,
        description="compile the forward pass by torch.compile, in a minute or less; needs a C++ compiler",
    )
    decode: Literal["workers", "device"] = Field(
        default="workers",
        description="what decodes and resizes JPEGs: the data workers, by Pillow, or the CUDA device of the "
        "backbone, by nvJPEG and torch, whose pixels differ; see docs/extraction_speed.md",
    )
    resize: Literal["pillow", "torch"] = Field(
        default="pillow",
        description="what resizes images: pillow, as the backbone's own transform, or torch, several times "
        "faster, whose pixels differ by 2 of 255 at most",
    )
    decode_scale: Annotated[float | None, optional("FLOAT")] = Field(
        default=None,
        ge=1,
        description="decode JPEGs at 1/2, 1/4 or 1/8 of their size where that leaves so many times the "
        "side that they are resized to: fast for large photographs, other pixels; without it, at full size",
    )

    @property
    def decoding(self) -> dict[str, JsonValue]:
        """What these options add to the transform in the store's identity."""
        changes: dict[str, JsonValue] = {} if self.resize == "pillow" else {RESIZE: self.resize}
        if self.decode == "device":
            changes |= {DECODE: self.decode, RESIZE: "torch"}  # with --resize torch beside it, and without
        return changes if self.decode_scale is None else {**changes, DECODE_SCALE: self.decode_scale}

    @model_validator(mode="after")
    def _speed_is_of_the_plain_view(self) -> Self:
        if self.decoding and self.views > 1:
            raise ValueError(
                "--decode device, --resize torch and --decode-scale are for one view: leave --views out"
            )
        if self.decode == "device" and self.decode_scale is not None:
            raise ValueError("--decode device decodes at full size: leave --decode-scale out")
        if self.plan and (self.decoding or self.compile or self.channels_last):
            raise ValueError(
                "--plan measures extraction without --decode, --resize, --decode-scale, --compile and "
                "--channels-last: leave them out of it"
            )
        return self

    @model_validator(mode="after")
    def _views_are_told_whole(self) -> Self:
        if (self.views > 1) != (self.augment is not None):
            raise ValueError("--views (2 or more) and --augment go together: give both, or neither")
        if self.augment_seed is not None and self.augment is None:
            raise ValueError("--augment-seed draws augmented views: give --views and --augment, too")
        return self


def is_training(split: str) -> bool:
    """Whether `--views` is for `split`: train, training, trainval, …."""
    return split.startswith("train")


def require_training_split(views: int, splits: Collection[str]) -> None:
    """Raise `UserError` where there are several views and none of `splits` is for training."""
    if views > 1 and not any(map(is_training, splits)):
        raise UserError(
            f"--views {views} is for training splits, whose names begin with train: "
            f"there is {', '.join(splits)}"
        )


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

"""The options of `probe predict`, `probe export` and `probe parity`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

import tyro
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from configs import FrozenModel, Json, optional

ExportName: TypeAlias = Literal["torchscript", "onnx", "torch.export"]

# as for `extract`, whose own options would import every backbone library
Device = Annotated[
    str | None, optional("NAME"), Field(description="cuda, cpu, …; without it, the fastest there is")
]
BackboneName = Annotated[
    str | None,
    optional("NAME"),
    Field(description="as for extract; without it, the one that the tokens are of, by its name"),
]
Weights = Annotated[
    str | None,
    optional("FILE|none"),
    Field(description="as for extract; without it, fetched as extract does. Other weights are refused"),
]
HeadName = Annotated[
    str | None,
    optional("NAME"),
    Field(
        description="which of the run's heads: a trial's name, or a probe's; without it, the most accurate "
        "on held-out images, or on the evaluation split where none were held out"
    ),
]
Column = Annotated[str | None, optional("NAME"), Field(description="as for extract")]
Tolerance = Annotated[PositiveFloat | None, optional("NUMBER")]


class HeadOptions(FrozenModel):
    """A finished run's head, and the backbone that it needs."""

    run: Annotated[Path, tyro.conf.Positional] = Field(description="the folder of a finished run")
    trial: HeadName = None
    backbone: BackboneName = None
    weights: Weights = None


class PredictOptions(HeadOptions):
    """Classify images with a trained head and its backbone, end to end.

    Images are decoded, resized and cropped as `extract` does it, and tokens go to the head in float32. An
    image that cannot be read costs one line, and exit code 1 at the end.

    Examples:
      probe predict runs/first photo.jpg
      probe predict runs/first photos/ --top 1 --json > classes.jsonl
      probe predict runs/first photos/ --trial ep32 --weights mae_vitl.pth
    """

    images: tyro.conf.Positional[tuple[Path, ...]] = Field(
        description="image files, and folders whose images are taken at any depth"
    )
    top: PositiveInt = Field(default=5, description="how many classes to tell, the most probable first")
    json_: Json = False
    as_stored: bool = Field(
        default=False,
        description="round the tokens as the store did that the head was trained from: the run's own numbers",
    )
    attention: Annotated[Path | None, optional("FOLDER")] = Field(
        default=None,
        description="write each image, as the backbone sees it, under the mean of the probe's attention maps",
    )
    batch_size: PositiveInt = Field(default=64, description="images in a forward pass")
    workers: NonNegativeInt = Field(
        default=4, description="image-decoding processes; a single batch is decoded without them"
    )
    device: Device = None


class ExportOptions(HeadOptions):
    """Write backbone and head as one file, which computes logits of normalised images, and check it.

    The file is loaded again, and what it gives for seeded inputs, in batches of several sizes, is compared
    with what the module gives: beyond the tolerance nothing is left behind, and the exit code is 1. Beside it
    a JSON file holds the classes, the input transform and whose tokens these are. Computed in float32.

    Examples:
      probe export runs/first --to onnx
      probe export runs/first --to torch.export --head-only --out head.pt2
      probe export runs/first --save-pretrained my-model --push-to-hub me/my-model
    """

    to: Annotated[ExportName | None, optional("torchscript|onnx|torch.export")] = Field(
        default=None, description="the file's format; onnx needs frozen-tokens[export]"
    )
    head_only: bool = Field(
        default=False,
        description="without the backbone: the input is the tokens that the head reads, blocks combined, "
        "after the final norm where it was trained so",
    )
    out: Annotated[Path | None, optional("FILE")] = Field(
        default=None, description="without it, export/ in the run's folder"
    )
    tolerance: PositiveFloat = Field(
        default=1e-4, description="the largest difference of a logit, as a share of the largest logit"
    )
    save_pretrained: Annotated[Path | None, optional("FOLDER")] = Field(
        default=None, description="write what a Hub repository holds: weights, configuration, model card"
    )
    push_to_hub: Annotated[str | None, optional("OWNER/NAME")] = Field(
        default=None, description="the same, uploaded to the Hugging Face Hub (`hf auth login` first)"
    )
    private: bool = Field(default=False, description="make a repository that --push-to-hub creates private")

    @model_validator(mode="after")
    def _something_to_write(self) -> Self:
        if self.to is None and self.save_pretrained is None and self.push_to_hub is None:
            raise ValueError("give --to FORMAT, --save-pretrained FOLDER or --push-to-hub OWNER/NAME")
        if self.to is None and (self.head_only or self.out is not None):
            raise ValueError("--head-only and --out are for --to FORMAT")
        if self.private and self.push_to_hub is None:
            raise ValueError("--private is for --push-to-hub")
        return self


class ParityOptions(FrozenModel):
    """Compare a store with its backbone: the same images' tokens, stored and computed again.

    The way to trust a store that one did not make. Images are drawn by seed from one split, decoded again
    from the data set, and every stored token of them is compared; with --run, also what a trained head says
    of both. Exit code 1 beyond the tolerance.

    Examples:
      probe parity --cache cache/mae_digits
      probe parity --cache cache/mae_vitl --dataset imagenet=folder:/data/imagenet --images 256
      probe parity --cache cache/mae_digits --run runs/first --json > parity.json
    """

    cache: Path = Field(description="the store")
    run: Annotated[Path | None, optional("FOLDER")] = Field(
        default=None, description="a finished run, whose head is compared on both"
    )
    trial: HeadName = None
    dataset: Annotated[str | None, optional("NAME|KIND:PLACE")] = Field(
        default=None, description="as for extract; without it, the store's, from where it came"
    )
    split: Annotated[str | None, optional("NAME")] = Field(
        default=None, description="without it, the evaluation split, or the only one"
    )
    images: PositiveInt = Field(default=64, description="how many, drawn from the split's readable ones")
    seed: NonNegativeInt = Field(default=0, le=2**32 - 1, description="of the draw")
    tolerance: Tolerance = Field(
        default=None,
        description="largest relative error (root mean square) of an image's tokens; without it, by the "
        "arrays' dtype and the precision of the forward pass",
    )
    logit_tolerance: PositiveFloat = Field(
        default=0.1,
        description="with --run: the largest difference of a logit, as a share of the standard deviation of "
        "all logits",
    )
    backbone: BackboneName = None
    weights: Weights = None
    image_column: Column = None
    label_column: Column = None
    batch_size: PositiveInt = Field(default=64, description="images in a forward pass")
    workers: NonNegativeInt = Field(default=0, description="image-decoding processes")
    device: Device = None
    json_: Json = False

    @model_validator(mode="after")
    def _trial_of_a_run(self) -> Self:
        if self.trial is not None and self.run is None:
            raise ValueError("--trial is a head of --run: give both, or neither")
        return self

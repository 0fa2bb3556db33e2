"""What the named YAML files may say: one typed, frozen class for each kind of file."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidatorFunctionWrapHandler,
)
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from configs.errors import UserError

TokenState = Literal["pre", "post"]
"""Tokens before (`pre`) or after (`post`) the backbone's final norm."""


_inside: ContextVar[bool] = ContextVar("inside", default=False)
"""Whether a model is being validated: a model inside it then leaves errors to it."""


class FrozenModel(BaseModel):
    """Base of every configuration: immutable, and a misspelt field is an error.

    What does not validate raises `UserError`, in one line.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        # a `model_validator` would stand inside those of subclasses, and miss what they raise
        return core_schema.no_info_wrap_validator_function(cls._validate_or_say, handler(source))

    @staticmethod
    def _validate_or_say(data: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        if _inside.get():
            return handler(data)  # the outermost model reports, and knows the whole path
        token = _inside.set(True)
        try:
            return handler(data)
        except ValidationError as error:
            raise UserError("; ".join(map(_in_words, error.errors()))) from None
        finally:
            _inside.reset(token)


def _in_words(error: ErrorDetails) -> str:
    """`field: what is wrong (given: value)`; of several fields together, only what is wrong."""
    place = ".".join(map(str, error["loc"]))
    message = error["msg"].removeprefix("Value error, ")
    given = "" if error["type"] == "missing" else f" (given: {error['input']!r})"
    return f"{place}: {message}{given}" if place else message


class TransformConfig(FrozenModel):
    """Changes to the input transform that timm knows for a model; absent fields keep timm's."""

    input_size: tuple[int, int, int] | None = None
    crop_pct: PositiveFloat | None = None
    crop_mode: Literal["center", "squash", "border"] | None = None
    interpolation: Literal["bicubic", "bilinear", "lanczos"] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None


Proof = Literal["real", "golden", "timm", "none"]
"""How far a backbone has been shown to be right.

`real`: run with its real weights. `golden`: weights made up in the official file's own layout, through our
loader, give the tokens of the official code. `timm`: tokens are those of timm's model, which is believed.
"""


class BackboneConfig(FrozenModel):
    """A frozen backbone by name: an architecture, where its weights come from, how it is fed."""

    name: str
    source: str = Field(description="the architecture: ROUTE:NAME, see extract/routes")
    arguments: dict[str, Any] = Field(
        default_factory=dict, description="extra arguments to what builds the architecture"
    )
    weights: str = Field(
        default="hub",
        description="hub (the route downloads them), an https address, bundled:FILE, a checkpoint path, "
        "file (nobody publishes them where a program may fetch them: --weights must be given), or none",
    )
    layout: str | None = Field(
        default=None,
        description="how the official file names its tensors, see extract/checkpoints; absent: any that fits",
    )
    transform: TransformConfig = TransformConfig()
    tokens: TokenState | None = Field(
        default=None, description="what published probes of this backbone read; probe's default"
    )
    licence: str | None = None
    gated: bool = Field(
        default=False, description="the publisher asks for an acceptance of its licence first"
    )
    proof: Proof = "none"
    notes: str | None = None


class DatasetConfig(FrozenModel):
    """A data set by name: where its images come from, and how its columns and splits are called."""

    name: str
    source: str = Field(
        description="digits, folder:PATH, hf:OWNER/NAME[:CONFIG], parquet:PATH, webdataset:PATH or csv:PATH"
    )
    splits: dict[str, str] = Field(
        default_factory=dict,
        description="our split name → the source's, or several of them joined by +; empty: as in the source",
    )
    image_column: str | None = None
    label_column: str | None = None
    num_classes: PositiveInt | None = None
    images: dict[str, PositiveInt] = Field(
        default_factory=dict, description="our split name → its images, for planning before a download"
    )
    gated: bool = Field(default=False, description="the Hub asks for a login and for consent to terms")
    archive: str | None = Field(
        default=None, description="the authors' own archive, in words that follow on 'unpack'"
    )
    licence: str | None = None
    notes: str | None = None


def _several(given: Any) -> Any:
    return given if isinstance(given, list | tuple) else (given,)


def _some(values: tuple[float, ...]) -> tuple[float, ...]:
    if not values:
        raise ValueError("give one number or more")
    return values


Finite = Annotated[NonNegativeFloat, Field(allow_inf_nan=False)]
Numbers = Annotated[tuple[Finite, ...], BeforeValidator(_several), AfterValidator(_some)]
"""One number or several, each 0 or more."""

Rate = Annotated[PositiveFloat, Field(allow_inf_nan=False)]
Rates = Annotated[tuple[Rate, ...], BeforeValidator(_several), AfterValidator(_some)]
"""One learning rate or several."""


class SweepConfig(FrozenModel):
    """A named grid: options of `probe` and their values. Absent fields keep `probe`'s own defaults."""

    name: str
    description: str
    probe: tuple[str, ...] | None = None
    recipe: str | None = None
    lr: Rates | None = None
    weight_decay: Numbers | None = None
    seed: tuple[NonNegativeInt, ...] | None = None
    block: tuple[str, ...] | None = None
    tokens: tuple[TokenState, ...] | None = None
    shots: tuple[PositiveInt, ...] | None = None
    fraction: Numbers | None = None
    draws: PositiveInt | None = None


class RecipeConfig(FrozenModel):
    """A training protocol for probes. Several learning rates or weight decays are a grid of trials."""

    name: str
    reference: str = Field(description="where the protocol is published")
    differs: str = Field(default="", description="where training from a cache must differ from it")
    optimizer: Literal["lars", "sgd", "adamw"]
    lr: Rates
    lr_per_256: bool = Field(description="multiply lr by batch_size / 256")
    batch_size: PositiveInt
    epochs: PositiveInt
    warmup_epochs: NonNegativeFloat
    weight_decay: Numbers
    momentum: float = Field(default=0.9, ge=0, lt=1, description="LARS and SGD")
    betas: tuple[float, float] = Field(default=(0.9, 0.999), description="AdamW")
    decay_vectors: bool = Field(default=True, description="weight decay on biases and norms too")
    clip_norm: PositiveFloat | None = Field(default=None, description="largest norm of all gradients")
    classifier_std: PositiveFloat | None = Field(
        default=None, description="start of the classifier; absent: PyTorch's own"
    )

"""The options of `cache derive`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

import tyro
from pydantic import Field, PositiveInt, field_validator, model_validator

from cache.arrays import TokenDtype
from cache.manifest import StoreFormat
from cache.subset import SubsetChoice, read_class_list, read_sample_list
from cache.thumbnails import THUMBNAILS
from configs import FrozenModel, Names, UserError, optional, unknown_name

KEEPABLE = ("patches", "prefix", "mean", THUMBNAILS)
"""What `--keep` may name; `mean` stands for mean and mean_normed, and scales go with their tokens."""


class DeriveOptions(FrozenModel):
    """Make a new store from an old one, without the backbone: other dtype or format, fewer tokens or records.

    Every split is derived, unless --dataset or --split name one, and every record that is read is checked.
    An interrupted run goes on where it stopped when the same command is given again.

    Examples:
      cache derive cache/mae_vitl cache/mae_vitl_int8 --dtype int8
      cache derive cache/mae_vitl cache/mae_vitl_means --keep mean
      cache derive cache/mae_vitl cache/mae_vitl_10percent --split train --fraction 0.1
      cache derive cache/mae_vitl cache/mae_vitl_10percent --split test
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SRC")] = Field(
        description="the store to read"
    )
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")] = Field(
        description="the store to make, or to go on with"
    )
    dtype: Annotated[TokenDtype | None, optional("float16|bfloat16|float32|int8")] = Field(
        default=None, description="how tokens are stored; without it, as in SRC"
    )
    blocks: Annotated[str | None, optional("INT[,INT…]")] = Field(
        default=None, description="keep only these, such as 5,11 (-1: the backbone's last)"
    )
    keep: Annotated[Names, optional("NAME[,NAME…]")] = Field(
        default=(),
        description="only these arrays: patches, prefix, mean (with and without the final norm), thumbnails; "
        "without it, all that SRC holds",
    )
    classes: Annotated[Names, optional("NAME[,NAME…]")] = Field(
        default=(), description="keep only these classes, numbered anew in the order of SRC's list"
    )
    classes_file: Annotated[Path | None, optional("FILE")] = Field(
        default=None, description="the same, one name a line (for names that hold commas)"
    )
    samples: Annotated[Path | None, optional("FILE")] = Field(
        default=None, description="keep only these sample_ids of one split, one a line"
    )
    fraction: Annotated[float | None, optional("NUMBER")] = Field(
        default=None,
        gt=0,
        le=1,
        description="keep so much of each class, rounded up: its first records, which are a random choice "
        "that holds every smaller one",
    )
    pool: Annotated[PositiveInt | None, optional("INT")] = Field(
        default=None, ge=2, description="average windows of so many tokens along every axis of the grid"
    )
    format: Annotated[StoreFormat | None, optional("zarr|hdf5")] = Field(
        default=None, description="without it, as in SRC"
    )
    shard_size: Annotated[PositiveInt | None, optional("INT")] = Field(
        default=None, description="records in a shard; without it, as in SRC"
    )
    dataset: Annotated[str | None, optional("NAME")] = Field(default=None, description="only this data set")
    split: Annotated[str | None, optional("NAME")] = Field(default=None, description="only this split")

    @field_validator("keep")
    @classmethod
    def _keepable(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in KEEPABLE:
                raise ValueError(str(unknown_name("array", name, KEEPABLE)))
        if names == (THUMBNAILS,):
            raise ValueError("thumbnails are kept beside tokens: name patches, prefix or mean, too")
        return names

    @model_validator(mode="after")
    def _one_list_of_classes(self) -> Self:
        if self.classes and self.classes_file is not None:
            raise UserError("give --classes or --classes-file, not both")
        return self

    def subset(self) -> SubsetChoice:
        """Which records were asked for, with the files read. Raises `UserError`."""
        return SubsetChoice(
            classes=self.classes if self.classes_file is None else read_class_list(self.classes_file),
            samples=None if self.samples is None else read_sample_list(self.samples),
            fraction=self.fraction,
        )

"""The options of `probe attention`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

import tyro
from pydantic import Field, PositiveInt, model_validator

from configs import FrozenModel, Names, optional

DEFAULT_SAMPLES = 6


class AttentionOptions(FrozenModel):
    """Look at the maps of a finished run's attentive probes, and measure them on its evaluation split.

    Writes pictures, measures.json, measures.csv and measures.svg into the run's folder attention/. The
    measures need the store alone; pictures are of thumbnails (`extract --thumbnails 112`), of the data set's
    own images, or of --images, which go through the backbone.

    Examples:
      probe attention runs/mae_digits-digits-lp+ep16-fast
      probe attention runs/first --samples 10 --trial ep16
      probe attention runs/first --images cat.jpg dog.jpg --pictures-only
      probe attention runs/birds --boxes ~/CUB_200_2011
    """

    run: Annotated[Path, tyro.conf.Positional] = Field(description="the run's folder")
    trial: Names = Field(
        default=(),
        description="which heads: trials' names, or probes'; of each answer the first, where several differ "
        "in seed or draw alone",
    )
    cache: Annotated[Path | None, optional("PATH")] = Field(
        default=None, description="the store; without it, the one that the run read"
    )
    split: Annotated[str | None, optional("NAME")] = Field(
        default=None, description="without it, the one that the run was evaluated on"
    )
    limit: Annotated[PositiveInt | None, optional("INT")] = Field(
        default=None, description="measure so many images, the split's first, which are a random choice"
    )
    samples: Annotated[PositiveInt | None, optional("INT")] = Field(
        default=None, description=f"pictures of so many images of the split; without it, {DEFAULT_SAMPLES}"
    )
    images: tuple[Path, ...] = Field(default=(), description="pictures of these files instead")
    dataset: Annotated[str | None, optional("NAME")] = Field(
        default=None,
        description="as for extract: where the split's own images are now, for pictures of a store without "
        "thumbnails and for --boxes",
    )
    boxes: Annotated[Path | None, optional("PATH")] = Field(
        default=None,
        description="where the objects are: the folder of CUB_200_2011, a folder of ImageNet's XML files, "
        "one of masks (PNG files called as the images, 0 around the object), or a CSV file of sample_id or "
        "path, x0, y0, x1, y1",
    )
    backbone: Annotated[str | None, optional("NAME")] = Field(
        default=None, description="of --images, as for extract; without it, the one that the store names"
    )
    weights: Annotated[str | None, optional("FILE|none")] = Field(
        default=None, description="of --images, as for extract"
    )
    pictures_only: bool = Field(default=False, description="measure nothing")
    batch_size: PositiveInt = Field(default=64, description="images at a time")
    device: Annotated[str | None, optional("NAME")] = Field(
        default=None, description="cuda, cpu, …; without it, the fastest there is"
    )
    json_: Annotated[bool, tyro.conf.arg(name="json")] = Field(
        default=False, description="print the measures as JSON instead of a table"
    )

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.images and self.samples:
            raise ValueError("--images and --samples both say what is shown: give one")
        if self.pictures_only and (self.boxes or self.limit or self.json_):
            raise ValueError("--pictures-only measures nothing: leave --boxes, --limit and --json out")
        return self

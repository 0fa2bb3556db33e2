"""The options of `cache plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, PositiveInt

from configs import Headings, Json, optional
from extract.options import TokenOptions


class PlanOptions(TokenOptions):
    """Say what an extraction would cost, before anything is spent: bytes, hours, probe epochs, break-even.

    Takes the options of `extract`. This machine is measured, for half a minute at most, and nothing is
    downloaded. Exit code 2 when the disk cannot hold the tokens.

    Examples:
      cache plan --backbone mae_digits --dataset digits
      cache plan --backbone mae_vitl --dataset imagenet --rates server.yaml --blocks all

    A file for --rates, of which each line may be left out:
      backbone_images_per_second: 900
      decode_images_per_second: 4000       # all worker processes together
      extract_images_per_second: 850       # both at once; without it, the slower of the two
      probe_images_per_second: 20000       # training steps; without it, reading alone counts
      disk_write_bytes_per_second: 2.0e+9
      disk_read_bytes_per_second: 3.0e+9
      host_bytes_per_second: 20.0e+9       # from memory to the device
      device_bytes_per_second: 2.0e+12     # within the device
      disk_free_bytes: 4.0e+12
      host_memory_bytes: 1.0e+12
      device_memory_bytes: 80.0e+9

    The `rates` that --json prints are such a file: cache plan … --json | jq .rates > server.yaml
    """

    HEADINGS: ClassVar[Headings] = {
        "the plan": ("rates", "images", "probe_epochs", "json_"),
        **TokenOptions.HEADINGS,
    }

    rates: Annotated[Path | None, optional("FILE")] = Field(
        default=None,
        description="YAML that states rates, of this or another machine; what it does not state is measured",
    )
    images: Annotated[PositiveInt | None, optional("INT")] = Field(
        default=None, description="how many, in the only split, where the data set is not here to be counted"
    )
    probe_epochs: PositiveInt = Field(default=90, description="epochs that a probe trains")
    json_: Json = False

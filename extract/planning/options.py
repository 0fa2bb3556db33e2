"""The options of `cache plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro
from pydantic import Field, PositiveInt

from configs import optional
from extract.options import TokenOptions


class PlanOptions(TokenOptions):
    """Say what an extraction would cost, before anything is spent: bytes, hours, probe epochs, break-even.

    Takes the options of `extract`. This machine is measured for some seconds, and nothing is downloaded.
    Exit code 2 when the disk cannot hold the tokens.

    Examples:
      cache plan --backbone mae_digits --dataset digits
      cache plan --backbone mae_vitl --dataset imagenet --rates server.yaml --blocks all
    """

    rates: Annotated[Path | None, optional("FILE")] = Field(
        default=None,
        description="YAML that states rates, of this or another machine, such as "
        "`backbone_images_per_second: 900`; what it does not state is measured",
    )
    images: Annotated[PositiveInt | None, optional("INT")] = Field(
        default=None, description="of the only split, where the data set is not here to be counted"
    )
    probe_epochs: PositiveInt = Field(default=90, description="epochs that a probe trains")
    json_: Annotated[bool, tyro.conf.arg(name="json")] = Field(default=False, description="print JSON")

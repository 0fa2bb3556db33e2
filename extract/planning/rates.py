"""What a machine can do: stated in a file, or measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import torch
import yaml
from pydantic import Field, model_validator

from configs import FrozenModel, UserError, unknown_name

SECONDS = 2.0
"""What a measurement takes, about."""

Positive = Annotated[float | None, Field(gt=0, allow_inf_nan=False)]


class Rates(FrozenModel):
    """Speeds and sizes of a machine; None where they are not known.

    A file may state some of them, for this machine or another one.
    """

    backbone_images_per_second: Positive = None
    """Forward passes, with the run's batch size and precision."""
    decode_images_per_second: Positive = None
    """Decoding, resizing and cropping, all worker processes together."""
    extract_images_per_second: Positive = None
    """Both at once, as extraction runs them; without it, the slower of the two counts."""
    probe_images_per_second: Positive = None
    """Training steps of a probe on tokens that are already there; without it, only reading counts."""
    disk_write_bytes_per_second: Positive = None
    disk_read_bytes_per_second: Positive = None
    host_bytes_per_second: Positive = None
    """Records at random from memory to where the probe trains: memory itself, or a device behind a link."""
    device_bytes_per_second: Positive = None
    """Records at random within the device's own memory; unknown where the device is the CPU."""
    disk_free_bytes: Positive = None
    host_memory_bytes: Positive = None
    """Free for tokens and all else; so is the device's."""
    device_memory_bytes: Positive = None

    @model_validator(mode="after")
    def _both_beside_each(self) -> Self:
        each = (self.backbone_images_per_second, self.decode_images_per_second)
        if self.extract_images_per_second is not None and None in each:
            raise ValueError(
                "extract_images_per_second is the backbone and decoding at once: state the rate of each, too"
            )
        return self


def read_rates(path: Path) -> Rates:
    """Read a YAML file such as `decode_images_per_second: 4000`. Raises `UserError`."""
    try:
        stated = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    stated = {} if stated is None else stated
    if not isinstance(stated, dict):
        raise UserError(f"{path}: give a rate on each line, such as `backbone_images_per_second: 900`")
    for name in stated:
        if name not in Rates.model_fields:
            raise UserError(f"{path}: {unknown_name('rate', str(name), Rates.model_fields)}")
    try:
        return Rates.model_validate(stated)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


@dataclass(frozen=True)
class Measured:
    """A rate or a size, None where this machine has none, and where it comes from."""

    value: float | None
    how: str


def wait_for(device: torch.device) -> None:
    """Return when `device` has done everything: before a clock is read."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)

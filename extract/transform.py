"""The backbone's own input transform: resize and crop in the data workers, normalise on the device."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform
from torch import nn
from torchvision import transforms
from torchvision.transforms.v2.functional import resize as resize_eight_bit

from configs import TransformConfig, UserError

_EIGHT_BIT = (transforms.InterpolationMode.BICUBIC, transforms.InterpolationMode.BILINEAR)
"""What torch resizes in 8-bit integers, with Pillow's antialiasing."""

_FIELDS = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")

DECODING = RESIZE, DECODE_SCALE, DECODE = "resize", "decode_scale", "decode"
"""Settings that are there only where they are not timm's: what resizes, how and where JPEGs are decoded."""


@dataclass(frozen=True)
class TorchResize:
    """RGB image → (3, H, W) uint8 as `--resize torch` gives it, on whatever device the pixels are."""

    resize: transforms.Resize
    crop: transforms.CenterCrop

    def __call__(self, image: Image.Image) -> np.ndarray:
        return np.asarray(self.of_pixels(transforms.functional.pil_to_tensor(image)))

    def of_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """Of (3, h, w) uint8. A CPU resizes in 8-bit integers, CUDA in float32, rounded and clamped."""
        small = self._resized(pixels, self.resize.size) if pixels.is_cpu else self.in_two_steps(pixels)
        cropped: torch.Tensor = self.crop(small)
        return cropped

    def in_two_steps(self, pixels: torch.Tensor) -> torch.Tensor:
        """The width, then the height: Pillow rounds and clamps between them, as does a CPU's 8-bit kernel.

        In one step of float32 edges of bicubic images would differ from Pillow's by up to 8 of 255.
        """
        height, width = pixels.shape[-2:]
        size = self.resize.size
        if isinstance(size, int):  # of the shorter side, as torchvision rounds the longer one
            longer = int(size * max(height, width) / min(height, width))
            size = (size, longer) if height <= width else (longer, size)
        return self._resized(self._resized(pixels, (height, size[1])), size)

    def _resized(self, pixels: torch.Tensor, size: int | Sequence[int]) -> torch.Tensor:
        resized: torch.Tensor = resize_eight_bit(pixels, size, self.resize.interpolation, antialias=True)
        return resized


def transform_settings(model: nn.Module, changes: TransformConfig) -> dict[str, Any]:
    """The model's data configuration (timm) with `changes`: what the store's identity keeps."""
    settings = resolve_model_data_config(model)  # type: ignore[no-untyped-call]
    settings |= changes.model_dump(exclude_none=True)
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name in _FIELDS
        for value in (settings[name],)
    }


def image_transform(settings: dict[str, Any]) -> Callable[[Image.Image], np.ndarray]:
    """RGB image → (3, H, W) uint8: resized and cropped as timm evaluates, not yet normalised.

    Eight bits cross from the workers to the device, a quarter of float32; PIL's own resize gives no more.
    Raises `UserError` for a transform that torch's resize does not have.
    """
    if settings.get(RESIZE) == "torch":
        return torch_resize(settings)
    return partial(_as_array, _of_timm(settings))


def least_side(settings: dict[str, Any]) -> int | None:
    """The shorter side that an image must keep when it is decoded smaller; None: it is decoded whole."""
    if DECODE_SCALE not in settings:
        return None
    resized: float = min(settings["input_size"][1:]) / settings["crop_pct"]
    return math.ceil(resized * float(settings[DECODE_SCALE]))


def torch_resize(settings: dict[str, Any]) -> TorchResize:
    """The two steps that torch can do, too. Raises `UserError` where it cannot."""
    resize, crop = _of_timm(settings).transforms[:2]
    if not isinstance(resize, transforms.Resize) or resize.interpolation not in _EIGHT_BIT:
        option = "--decode device" if DECODE in settings else "--resize torch"
        raise UserError(
            f"{option} has bicubic and bilinear resizing only, the backbone's transform is {resize}"
        )
    return TorchResize(resize, crop)


def _of_timm(settings: dict[str, Any]) -> Any:
    """timm's evaluation transform, a `Compose`."""
    of_timm: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in settings.items() if name in _FIELDS
    }
    # with a prefetcher timm leaves normalising to the device; the last step's type depends on its version
    return create_transform(**of_timm, is_training=False, use_prefetcher=True)


def _as_array(transform: Callable[[Image.Image], Any], image: Image.Image) -> np.ndarray:
    return np.asarray(transform(image))


class Normalize(nn.Module):
    """(B, 3, H, W) uint8 → float32, (x/255 − mean) / std, on whatever device the images are."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        for name in ("mean", "std"):
            value = torch.tensor(settings[name], dtype=torch.float32).view(1, 3, 1, 1)
            self.register_buffer(name, value)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.float().div_(255).sub_(self.mean).div_(self.std)

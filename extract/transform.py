"""The backbone's own input transform: resize and crop in the data workers, normalise on the device."""

from __future__ import annotations

import math
from collections.abc import Callable
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

DECODING = RESIZE, DECODE_SCALE = "resize", "decode_scale"
"""Settings that are there only where they are not timm's: what resizes, and how small JPEGs are decoded."""


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
    of_timm: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in settings.items() if name in _FIELDS
    }
    # with a prefetcher timm leaves normalising to the device; the last step's type depends on its version
    transform = create_transform(**of_timm, is_training=False, use_prefetcher=True)
    if settings.get(RESIZE) == "torch":
        return partial(_by_torch, *_resize_and_crop(transform))
    return partial(_as_array, transform)


def least_side(settings: dict[str, Any]) -> int | None:
    """The shorter side that an image must keep when it is decoded smaller; None: it is decoded whole."""
    if DECODE_SCALE not in settings:
        return None
    resized: float = min(settings["input_size"][1:]) / settings["crop_pct"]
    return math.ceil(resized * float(settings[DECODE_SCALE]))


def _resize_and_crop(transform: Any) -> tuple[transforms.Resize, transforms.CenterCrop]:
    """The two steps that torch can do, too."""
    resize, crop = transform.transforms[:2]
    if not isinstance(resize, transforms.Resize) or resize.interpolation not in _EIGHT_BIT:
        raise UserError(
            f"--resize torch has bicubic and bilinear resizing only, the backbone's transform is {resize}"
        )
    return resize, crop


def _by_torch(resize: transforms.Resize, crop: transforms.CenterCrop, image: Image.Image) -> np.ndarray:
    pixels = transforms.functional.pil_to_tensor(image)
    small = resize_eight_bit(pixels, resize.size, resize.interpolation, antialias=True)
    return np.asarray(crop(small))


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

"""The backbone's own input transform: resize and crop in the data workers, normalise on the device."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform
from torch import nn

from configs import TransformConfig

_FIELDS = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")


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
    """
    settings = {name: tuple(v) if isinstance(v, list) else v for name, v in settings.items()}
    # with a prefetcher timm leaves normalising to the device; the last step's type depends on its version
    transform = create_transform(**settings, is_training=False, use_prefetcher=True)
    return partial(_as_array, transform)


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

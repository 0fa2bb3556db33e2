"""`--thumbnails`: what the backbone saw of each image, made small, for maps of tokens to be laid on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from cache import ArraySpec, thumbnail_array


def thumbnail_spec(side: int, input_size: Sequence[int]) -> ArraySpec:
    """Of images of `input_size` (3, H, W): their longer side at most `side`, never larger than they are."""
    _, height, width = input_size
    factor = min(1.0, side / max(height, width))
    return thumbnail_array(max(1, round(factor * height)), max(1, round(factor * width)))


def thumbnails(images: torch.Tensor, spec: ArraySpec) -> torch.Tensor:
    """(B, 3, H, W) uint8 images, resized and cropped → (B, h, w, 3) uint8, on the same device."""
    small = F.interpolate(images.float(), spec.record_shape[:2], mode="bilinear", antialias=True)
    return small.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()

"""Any image file as 8-bit RGB."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

_SIXTEEN_BIT = {"I", "I;16", "I;16B", "I;16L", "I;16N"}


def to_rgb(image: Image.Image) -> Image.Image:
    """Decode `image` as the viewer would see it: EXIF rotation applied, any mode to 8-bit RGB.

    16-bit grey keeps its high byte (a plain conversion would clip it to white). Transparency is dropped,
    as torchvision's loader does. Raises what Pillow raises on damaged files.
    """
    upright = ImageOps.exif_transpose(image)
    if upright.mode in _SIXTEEN_BIT:
        samples = np.asarray(upright).astype(np.int64).clip(0, 65535)
        upright = Image.fromarray((samples >> 8).astype(np.uint8))
    if upright.mode == "P" and "transparency" in upright.info:
        upright = upright.convert("RGBA")  # Pillow warns of the direct way
    return upright.convert("RGB")

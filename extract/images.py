"""Any image file as 8-bit RGB, and in words what is wrong with one that cannot be read."""

from __future__ import annotations

import io
import os
import re
import stat
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO", "DIB")
"""What is opened, whatever a file is called. Pillow knows more, and runs Ghostscript for some of it."""

MAX_ASPECT = 500
"""Sides may differ so many times: resizing a 30,000×1 strip to 256 rows would take 8 GB."""

_SIXTEEN_BIT = {"I", "I;16", "I;16B", "I;16L", "I;16N"}

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → what turns the image upright."""


def open_image(file: Path | bytes) -> Image.Image:
    """The image in `file`, not decoded yet. Raises what Pillow raises, and ValueError for absurd shapes."""
    if isinstance(file, Path) and not stat.S_ISREG(os.stat(file).st_mode):
        raise ValueError("not a file")  # opening a named pipe would wait for ever
    Image.init()
    known = [name for name in FORMATS if name in Image.OPEN]
    image = Image.open(io.BytesIO(file) if isinstance(file, bytes) else file, formats=known)
    short, long = sorted(image.size)
    if long > MAX_ASPECT * short:
        width, height = image.size
        raise ValueError(f"{width}×{height} pixels: one side is over {MAX_ASPECT} times the other")
    return image


def to_rgb(image: Image.Image, least_side: int | None = None) -> Image.Image:
    """Decode `image` as a viewer would show it: EXIF rotation applied, any mode to 8-bit RGB.

    With `least_side` a JPEG is decoded at the smallest of 1/2, 1/4, 1/8 of its size that leaves so much of
    both sides: the decoder computes fewer of its cosines. Other images are decoded whole.
    16-bit grey keeps its high byte (a plain conversion would clip it to white). Transparency is dropped,
    as torchvision's loader does; of an animation the first frame is taken. Raises what Pillow raises on
    damaged files, and ValueError for floating-point pixels, whose range is unknown.
    """
    if least_side is not None and image.format == "JPEG":
        image.draft(None, (least_side, least_side))
    image.load()  # a PNG's EXIF may follow its pixels
    turn = _UPRIGHT.get(orientation(image))
    upright = image if turn is None else image.transpose(turn)
    if upright.mode == "F":
        raise ValueError("floating-point pixels")
    if upright.mode in _SIXTEEN_BIT:
        samples = np.asarray(upright).astype(np.int64).clip(0, 65535)
        upright = Image.fromarray((samples >> 8).astype(np.uint8))
    if upright.mode == "P" and "transparency" in upright.info:
        upright = upright.convert("RGBA")  # Pillow warns of the direct way
    return upright.convert("RGB")


def why_unreadable(error: Exception) -> str:
    """`error` in one line that is the same in every run: it becomes part of the store."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or its header is damaged"
    text = re.sub(r" at 0x[0-9a-f]+", "", " ".join(str(error).split()))
    if not text:
        return type(error).__name__
    said = isinstance(error, OSError | ValueError | Image.DecompressionBombError)
    return text if said else f"{type(error).__name__}: {text}"


def orientation(image: Image.Image) -> int:
    """1 to 8; 1 where the EXIF data say nothing, or are damaged beside sound pixels."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow's parser of EXIF raises anything
        return 1
    return found if isinstance(found, int) else 1

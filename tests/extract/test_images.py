from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from extract.images import to_rgb

NAMES = sorted(
    ["bird/plain.jpg", "bird/grey.jpg", "bird/cmyk.jpg", "bird/rotated.jpg"]
    + [f"fish/{name}.png" for name in ("palette", "sixteen", "alpha", "bilevel", "transparent", "grey_alpha")]
    + ["fish/wide.webp"]
)


@pytest.mark.parametrize("name", NAMES)
def test_every_mode_becomes_rgb(mixed_images: Path, name: str) -> None:
    assert to_rgb(Image.open(mixed_images / name)).mode == "RGB"


@pytest.mark.filterwarnings("error")
def test_palette_with_transparency_gives_no_warning(mixed_images: Path) -> None:
    to_rgb(Image.open(mixed_images / "fish" / "transparent.png"))


@pytest.mark.parametrize("name", ["bird/rotated.jpg", "bird/cmyk.jpg", "fish/palette.png"])
def test_content_is_that_of_the_plain_image(mixed_images: Path, name: str) -> None:
    plain = np.asarray(to_rgb(Image.open(mixed_images / "bird" / "plain.jpg"))).astype(int)
    other = np.asarray(to_rgb(Image.open(mixed_images / name))).astype(int)
    assert other.shape == plain.shape
    assert abs(other - plain).mean() < 8


def test_sixteen_bit_grey_keeps_its_range(mixed_images: Path) -> None:
    image = np.asarray(to_rgb(Image.open(mixed_images / "fish" / "sixteen.png")))
    assert image[0, 0].tolist() == [0, 0, 0]
    assert image[0, -1].tolist() == [255, 255, 255]
    assert image[0, 20, 0] in range(120, 140)

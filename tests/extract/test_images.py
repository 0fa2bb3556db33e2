from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from extract.images import open_image, to_rgb, why_unreadable

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


def _file(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _corners() -> Image.Image:
    """3×2 pixels, all different."""
    return Image.fromarray(np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 14)


STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: upright.swapaxes(0, 1)[::-1],
    7: lambda upright: upright.swapaxes(0, 1)[::-1, ::-1],
    8: lambda upright: upright.swapaxes(0, 1)[:, ::-1],
}
"""EXIF orientation → how the camera stored an upright picture (table of the EXIF standard)."""


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", STORED)
def test_every_exif_orientation_is_turned_upright(orientation: int, kind: str) -> None:
    upright = np.asarray(_corners())
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    found = to_rgb(open_image(_file(stored, kind, exif=exif)))
    assert np.array_equal(np.asarray(found), upright)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0junk", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\0\x01"]
)
def test_damaged_exif_does_not_cost_the_picture(exif: bytes) -> None:
    assert to_rgb(open_image(_file(_corners(), "JPEG", exif=exif))).size == (3, 2)


def test_an_orientation_that_does_not_exist_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 99
    assert to_rgb(open_image(_file(_corners(), "JPEG", exif=exif))).size == (3, 2)


@pytest.mark.parametrize("transform", [0, 2])
def test_cmyk_and_ycck_jpegs_show_their_colour(transform: int) -> None:
    # an Adobe marker's last byte says whether the first three channels are CMY or YCbCr of them
    inks = np.full((16, 16, 4), (200, 40, 90, 30), dtype=np.uint8)
    if transform == 2:
        as_rgb = Image.fromarray(np.ascontiguousarray(inks[..., :3]))  # Adobe stores inks inverted
        inks[..., :3] = 255 - np.asarray(as_rgb.convert("YCbCr"))
    data = bytearray(_file(Image.fromarray(inks, "CMYK"), "JPEG", quality=100))
    data[data.index(b"Adobe") + 11] = transform
    found = np.asarray(to_rgb(open_image(bytes(data)))).astype(int)
    expected = [(255 - ink) * (255 - 30) // 255 for ink in (200, 40, 90)]
    assert abs(found - expected).max() < 8


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_taken(kind: str) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue", "lime")]
    data = _file(
        frames[0],
        kind,
        save_all=True,
        append_images=frames[1:],
        **({"lossless": True} if kind == "WEBP" else {}),
    )
    image = open_image(data)
    assert getattr(image, "n_frames", 1) == 3
    assert np.asarray(to_rgb(image))[3, 3].tolist() == [255, 0, 0]


@pytest.mark.parametrize("size", [(1, 1), (500, 1), (1, 500)])
def test_tiny_and_long_images_are_taken(size: tuple[int, int]) -> None:
    assert to_rgb(open_image(_file(Image.new("RGB", size), "PNG"))).size == size


@pytest.mark.parametrize("size", [(30_000, 1), (1, 30_000)])
def test_a_strip_that_would_fill_the_memory_when_resized_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"{size[0]}×{size[1]} pixels: one side is over 500 times the other"):
        open_image(_file(Image.new("RGB", size), "PNG"))


def test_floating_point_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="floating-point pixels"):
        to_rgb(open_image(_file(Image.new("F", (4, 4), 0.5), "TIFF")))


def test_postscript_is_never_run() -> None:
    page = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    with pytest.raises(UnidentifiedImageError):
        open_image(page)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            UnidentifiedImageError("cannot identify <_io.BytesIO object at 0x7f1>"),
            "not an image, or its header is damaged",
        ),
        (OSError("image file is\ntruncated"), "image file is truncated"),
        (ValueError("bad <Thing at 0x7fab>"), "bad <Thing>"),
        (KeyError("x"), "KeyError: 'x'"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_why_an_image_cannot_be_read_is_one_line_that_every_run_repeats(error: Exception, words: str) -> None:
    assert why_unreadable(error) == words

"""Images as the web has them end in tokens, or in an error with their name."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cache import Store

Run = Callable[..., subprocess.CompletedProcess[str]]
WORDS = ("--backbone", "timm:test_vit", "--weights", "none", "--batch-size", "8", "--workers", "2")


def _file(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _noise(mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def _png(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds almost nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0" * 64)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _changed(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def _ycck() -> bytes:
    content = bytearray(_file(_noise("CMYK"), "JPEG"))
    content[content.index(b"Adobe") + 11] = 2
    return bytes(content)


def _animated(kind: str) -> bytes:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    return _file(frames[0], kind, save_all=True, append_images=frames[1:])


def _turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return _file(_noise(), "JPEG", exif=exif)


def _readable() -> dict[str, bytes]:
    sixteen = np.linspace(0, 65535, 1200).astype(np.uint16).reshape(30, 40)
    return {
        "wrong_extension.png": _file(_noise(), "JPEG"),
        "cmyk.jpg": _file(_noise("CMYK"), "JPEG"),
        "ycck.jpg": _ycck(),
        "sixteen.png": _file(Image.fromarray(sixteen), "PNG"),
        "palette.png": _file(_noise("P"), "PNG", transparency=bytes(range(256))),
        "la.png": _file(_noise("LA"), "PNG"),
        "rgba.png": _file(_noise("RGBA"), "PNG"),
        "bilevel.png": _file(_noise("1"), "PNG"),
        "animated.gif": _animated("GIF"),
        "animated.webp": _animated("WEBP"),
        "animated.png": _animated("PNG"),
        "dot.png": _file(Image.new("RGB", (1, 1)), "PNG"),
        "junk_exif.jpg": _file(_noise(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01"),
        **{f"turned_{orientation}.jpg": _turned(orientation) for orientation in range(1, 9)},
    }


def _unreadable() -> dict[str, tuple[bytes, str]]:
    whole = _file(_noise(), "PNG")
    empty_jpeg = bytearray(_file(_noise(), "JPEG"))
    size = empty_jpeg.index(b"\xff\xc0") + 5
    empty_jpeg[size : size + 4] = bytes(4)
    no_image = "not an image, or its header is damaged"
    return {
        "truncated.jpg": (_file(_noise(), "JPEG")[:900], "image file is truncated"),
        "nothing.jpg": (b"", no_image),
        "page.jpg": (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", no_image),
        "script.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", no_image),
        "wide.png": (
            _file(Image.new("RGB", (30_000, 1)), "PNG"),
            "30000×1 pixels: one side is over 500 times",
        ),
        "tall.png": (
            _file(Image.new("RGB", (1, 30_000)), "PNG"),
            "1×30000 pixels: one side is over 500 times",
        ),
        "bomb.png": (_png(60_000, 60_000), "could be decompression bomb"),
        "big.png": (_png(9_500, 9_500), "truncated"),
        "bad_pixels.png": (_changed(whole, whole.index(b"IDAT") + 40), "broken"),
        "bad_header.png": (_changed(whole, 29), no_image),
        "no_width.png": (_png(0, 9), no_image),
        "no_size.jpg": (bytes(empty_jpeg), no_image),
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of them in one class, with what is no file at all in another."""
    root = tmp_path_factory.mktemp("hostile") / "images"
    (root / "a").mkdir(parents=True)
    (root / "b").mkdir()
    for name, content in _readable().items():
        (root / "a" / name).write_bytes(content)
    for name, (content, _) in _unreadable().items():
        (root / "a" / name).write_bytes(content)
    (root / "b" / "broken_link.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(root / "b" / "pipe.jpg")
    return root


@pytest.fixture(scope="module")
def skipped(corpus: Path, run: Run) -> tuple[subprocess.CompletedProcess[str], Mapping[str, str], Store]:
    """What the run said; name of each image left out → why; the store."""
    folder = corpus.parent
    words = ("--dataset", f"folder:{corpus}", "--on-error", "skip", "--out", "store")
    finished = run("extract", *WORDS, *words, cwd=folder)
    reasons = [
        reason
        for path in sorted((folder / "store").rglob("shards/*.json"))
        for reason in json.loads(path.read_text())["skipped"].values()
    ]
    named = {Path(path).name: why for path, _, why in (reason.partition(": ") for reason in reasons)}
    return finished, named, Store(folder / "store")


def test_skipping_ends_well_and_prints_nothing_else(
    skipped: tuple[subprocess.CompletedProcess[str], Mapping[str, str], Store],
) -> None:
    finished, named, _ = skipped
    assert finished.returncode == 0, finished.stderr
    assert f"{len(_readable())} images, {len(named)} left out (unreadable)" in finished.stdout
    assert finished.stderr == ""


def test_every_readable_image_has_tokens(
    skipped: tuple[subprocess.CompletedProcess[str], Mapping[str, str], Store],
) -> None:
    assert not skipped[1].keys() & _readable().keys()


def test_every_other_one_is_left_out_by_name(
    skipped: tuple[subprocess.CompletedProcess[str], Mapping[str, str], Store],
) -> None:
    named = skipped[1]
    assert named.keys() == {*_unreadable(), "broken_link.jpg", "pipe.jpg"}
    for name, (_, why) in _unreadable().items():
        assert why in named[name], name
    assert "No such file" in named["broken_link.jpg"]
    assert named["pipe.jpg"] == "not a file"


def test_a_second_run_leaves_out_the_same_in_the_same_words(
    corpus: Path,
    run: Run,
    skipped: tuple[subprocess.CompletedProcess[str], Mapping[str, str], Store],
    files: Callable[[Path], Mapping[str, bytes]],
) -> None:
    words = ("--dataset", f"folder:{corpus}", "--on-error", "skip", "--out", "again")
    assert run("extract", *WORDS, *words, cwd=corpus.parent).returncode == 0
    assert files(corpus.parent / "again") == files(corpus.parent / "store")


@pytest.mark.parametrize("name", ["bomb.png", "nothing.jpg", "page.jpg", "wide.png"])
def test_stopping_names_the_image_in_one_line(tmp_path: Path, run: Run, name: str) -> None:
    (tmp_path / "images" / "a").mkdir(parents=True)
    content, why = _unreadable()[name]
    (tmp_path / "images" / "a" / name).write_bytes(content)
    finished = run("extract", *WORDS, "--dataset", f"folder:{tmp_path}/images", cwd=tmp_path)
    assert finished.returncode == 2
    assert f"images/a/{name}: " in finished.stderr
    assert why in finished.stderr
    assert finished.stderr.count("\n") == 1, finished.stderr


DYING = """
import os, sys
import extract.sources.files as files
from extract.command import main
opened = files.open_image
def dying(path):
    if path.name == "fatal.jpg":
        {happens}
    return opened(path)
files.open_image = dying
main()
"""


@pytest.mark.parametrize(
    ("happens", "how"),
    [
        ("os._exit(7)", "a data worker ended with exit code 7 while reading "),
        ("os.kill(os.getpid(), 9)", "a data worker was killed by SIGKILL while reading "),
    ],
)
def test_a_decoder_that_kills_its_worker_is_reported_in_one_line(
    tmp_path: Path, happens: str, how: str
) -> None:
    (tmp_path / "images" / "a").mkdir(parents=True)
    for name in ("1.jpg", "2.jpg", "3.jpg", "fatal.jpg"):
        (tmp_path / "images" / "a" / name).write_bytes(_file(_noise(), "JPEG"))
    words = ("--dataset", f"folder:{tmp_path}/images", "--on-error", "skip", "--out", "store")
    finished = subprocess.run(
        [sys.executable, "-c", DYING.format(happens=happens), *WORDS, *words],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert finished.returncode == 2, finished.stderr
    assert how in finished.stderr
    assert "images/a/fatal.jpg" in finished.stderr
    assert finished.stderr.count("\n") == 1, finished.stderr
    assert not list((tmp_path / "store").rglob("*.tmp"))

"""JPEG decoders, and ways from a JPEG to a backbone's input: speed, and distance from the reference.

    python benchmarks/bench_decode.py [--json FILE] [--quick]

On one thread, from files in memory: scikit-learn's two photographs, cut to 4:3, at 500 × 375 and at 12
megapixels, with some noise so that they compress as a camera's do. The reference is what `extract` does by
default: Pillow decodes, and timm's evaluation transform (bicubic, 224) resizes with Pillow. Differences are
in steps of 255. Decoders that are missing are named; for all: `pip install simplejpeg
opencv-python-headless imagecodecs pyvips[binary]`.

On a CUDA device nvJPEG, and `--decode device`, take part in batches of 64, beside one thread of the CPU.

Tokens: the relative difference, root mean square, of the last block's tokens of ViT-S/16 with random weights.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when libraries are loaded: one thread for each decoder

import importlib
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from device_decoders import DECODING, PREPARING, OnDevice, device_decoder, device_way
from measure import Contender, Section, compare, take_turns
from PIL import Image
from pydantic import Field, PositiveInt
from report import CONSOLE, ResultOptions, keep, machine_facts, print_section, refuse_what_cannot_be_saved
from rich.table import Table
from sklearn.datasets import load_sample_images

from configs import parse, run_command
from extract.backbone import Backbone, BlockTokens
from extract.images import open_image, to_rgb
from extract.open_backbone import open_backbone
from extract.transform import DECODE_SCALE, RESIZE, image_transform, least_side

PROGRAM = "bench_decode.py"
REFERENCE = "Pillow"
MODEL = "timm:vit_small_patch16_224"
SIZES = {"500 × 375": (500, 375), "12 megapixels": (4000, 3000)}
NOISE = 4.0  # standard deviation, of 255
WAYS: dict[str, dict[str, Any]] = {
    REFERENCE: {},
    "--resize torch": {RESIZE: "torch"},
    "--decode-scale 2": {DECODE_SCALE: 2.0},
    "--decode-scale 1": {DECODE_SCALE: 1.0},
    "--decode-scale 2 --resize torch": {DECODE_SCALE: 2.0, RESIZE: "torch"},
    "--decode-scale 1 --resize torch": {DECODE_SCALE: 1.0, RESIZE: "torch"},
}
Decode = Callable[[bytes], np.ndarray]


class DecodeOptions(ResultOptions):
    """Measure JPEG decoders and resizing."""

    images: PositiveInt = Field(
        default=64, description="of 500 × 375 in each turn; as many pixels of the larger"
    )
    rounds: PositiveInt = Field(default=7, description="turns of each contender")


@dataclass(frozen=True)
class Difference:
    """How far a contender's values are from the reference's."""

    section: str
    label: str
    max: int
    mean: float
    share: float  # of the values that differ at all
    tokens: float | None = None  # relative, root mean square


def photographs(size: tuple[int, int]) -> list[bytes]:
    """Two JPEGs of `size` (width, height)."""
    random = np.random.default_rng(0)
    files = []
    for pixels in load_sample_images().images:
        height = pixels.shape[1] * 3 // 4
        whole = Image.fromarray(pixels[:height]).resize(size, Image.Resampling.BICUBIC)
        noisy = np.asarray(whole, dtype=np.float32) + random.normal(0, NOISE, (size[1], size[0], 3))
        stream = io.BytesIO()
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=90)
        files.append(stream.getvalue())
    return files


def decoders() -> tuple[dict[str, Decode], list[str]]:
    """Every decoder that is installed, file → (H, W, 3) uint8, and the names of the others."""
    made: dict[str, Decode] = {REFERENCE: lambda file: np.asarray(to_rgb(open_image(file)))}
    missing = []
    for label, module, decoder in OTHERS:
        try:
            made[label] = partial(decoder, importlib.import_module(module))
        except ImportError:
            missing.append(module)
    return made, list(dict.fromkeys(missing))


def _torchvision(io_: Any, file: bytes) -> np.ndarray:
    coded = torch.frombuffer(bytearray(file), dtype=torch.uint8)
    return np.asarray(io_.decode_jpeg(coded, io_.ImageReadMode.RGB).permute(1, 2, 0))


def _opencv(cv2: Any, file: bytes) -> np.ndarray:
    cv2.setNumThreads(1)
    return np.asarray(cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR_RGB))


def _pyvips(pyvips: Any, file: bytes) -> np.ndarray:
    return np.asarray(pyvips.Image.new_from_buffer(file, "", access="sequential").numpy())


OTHERS: tuple[tuple[str, str, Callable[[Any, bytes], np.ndarray]], ...] = (
    ("torchvision.io", "torchvision.io", _torchvision),
    ("simplejpeg", "simplejpeg", lambda simplejpeg, file: simplejpeg.decode_jpeg(file)),
    (
        "simplejpeg, fast DCT and upsampling",
        "simplejpeg",
        lambda simplejpeg, file: simplejpeg.decode_jpeg(file, fastdct=True, fastupsample=True),
    ),
    ("OpenCV", "cv2", _opencv),
    ("imagecodecs", "imagecodecs", lambda imagecodecs, file: imagecodecs.jpeg8_decode(file)),
    ("pyvips", "pyvips", _pyvips),
)


def ways(transform: Mapping[str, Any]) -> dict[str, Decode]:
    """File → (3, 224, 224) uint8, as `extract` does with the options of each label."""
    return {
        label: partial(
            _prepared, image_transform({**transform, **changes}), least_side({**transform, **changes})
        )
        for label, changes in WAYS.items()
    }


def _prepared(transform: Callable[[Image.Image], np.ndarray], least: int | None, file: bytes) -> np.ndarray:
    return transform(to_rgb(open_image(file), least))


def speeds(
    title: str, contenders: Mapping[str, Decode], files: Sequence[bytes], count: int, options: DecodeOptions
) -> Section:
    """Each contender in turn over the same `count` files."""
    chosen = [files[number % len(files)] for number in range(count)]
    size = sum(map(len, chosen)) // count
    made = [
        Contender(
            label,
            partial(decode.run if isinstance(decode, OnDevice) else partial(_run, decode), chosen),
            size,
            "ceiling" if label == REFERENCE else "other",
        )
        for label, decode in contenders.items()
    ]
    return compare(title, title, made, take_turns(made, options.rounds, title))


def _run(decode: Decode, files: Sequence[bytes]) -> int:
    for file in files:
        decode(file)
    return len(files)


def differences(
    section: str, contenders: Mapping[str, Decode], files: Sequence[bytes], backbone: Backbone | None
) -> list[Difference]:
    """Of every contender from the first."""
    expected = [contenders[REFERENCE](file) for file in files]
    found = []
    for label, decode in contenders.items():
        pixels = [decode(file) for file in files]
        steps = np.concatenate(
            [
                np.abs(a.astype(np.int64) - b.astype(np.int64)).ravel()
                for a, b in zip(pixels, expected, strict=True)
            ]
        )
        tokens = (
            None if backbone is None else relative(_tokens(backbone, expected), _tokens(backbone, pixels))
        )
        share = float((steps > 0).mean())
        found.append(Difference(section, label, int(steps.max()), float(steps.mean()), share, tokens))
    return found


def _tokens(backbone: Backbone, images: Sequence[np.ndarray]) -> torch.Tensor:
    last = len(backbone.blocks) - 1
    found: dict[int, BlockTokens] = backbone(torch.from_numpy(np.stack(images)), [last])
    return found[last].patches


def relative(expected: torch.Tensor, given: torch.Tensor) -> float:
    """Root mean square of the difference, as a share of that of `expected`."""
    return float((given.float() - expected).norm() / expected.norm())


def print_differences(found: Sequence[Difference]) -> None:
    """One line for each contender."""
    table = Table(title="Differences from Pillow, in steps of 255", title_justify="left")
    table.add_column("contender", no_wrap=True)
    for column in ("max", "mean", "differing", "tokens"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in found:
        tokens = "" if row.tokens is None else f"{row.tokens:.1e}"
        table.add_row(row.label, str(row.max), f"{row.mean:.3f}", f"{row.share:.1%}", tokens)
    CONSOLE.print(table)


def run(options: DecodeOptions) -> None:
    """Measure, print, save."""
    refuse_what_cannot_be_saved(options)
    if options.quick:
        options = options.model_copy(update={"images": 16, "rounds": 1})
    facts, backbone = machine_facts(), open_backbone(MODEL, weights="none")
    decoding, missing = decoders()
    preparing = ways(backbone.transform)
    if torch.cuda.is_available():
        device = torch.device("cuda")
        decoding[DECODING] = device_decoder(device)
        preparing[PREPARING] = device_way(device, backbone.transform)
    sections, found = [], []
    rounding = 0.0
    for name, size in SIZES.items():
        files, count = photographs(size), max(2, options.images * 500 * 375 // (size[0] * size[1]))
        for what, contenders, model in (
            ("decoding", decoding, None),
            ("decoding, resizing to 224", preparing, backbone),
        ):
            title = f"{what}, {name}"
            sections.append(speeds(title, contenders, files, count, options))
            found.append(differences(title, contenders, files, model))
            print_section(sections[-1])
            print_differences(found[-1])
        tokens = _tokens(backbone, [preparing[REFERENCE](file) for file in files])
        rounding = max(rounding, relative(tokens, tokens.half()))
    CONSOLE.print(f"storing tokens as float16 changes them by {rounding:.1e}")
    if missing:
        CONSOLE.print(f"not installed: {', '.join(missing)}")
    left_out = [label for label in (DECODING, PREPARING) if label not in decoding | preparing]
    if left_out:
        CONSOLE.print(f"left out, as there is no CUDA device: {'; '.join(left_out)}")
    keep(
        options,
        sections,
        script=PROGRAM,
        machine=facts,
        settings=options.model_dump(mode="json"),
        differences=[row for rows in found for row in rows],
        float16_rounding=rounding,
        not_installed=missing,
        left_out=left_out,
    )


if __name__ == "__main__":
    sys.exit(run_command(PROGRAM, lambda: run(parse(DecodeOptions, prog=PROGRAM))))

"""Images to measure with: the data set's own, or made-up ones where it is not on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from extract.planning.work import Work
from extract.sources import ImageSource, open_dataset


@contextmanager
def sample_images(work: Work) -> Iterator[tuple[ImageSource, str]]:
    """The images, and what they are called. Made-up ones are deleted in the end."""
    if work.source is not None:
        yield work.source, f"images of {work.dataset}"
        return
    with tempfile.TemporaryDirectory() as folder:
        yield _synthetic_jpegs(Path(folder)), "synthetic JPEGs of 500×375"


def _synthetic_jpegs(folder: Path) -> ImageSource:
    """ImageNet's mean size in pixels, and about that in bytes (107 KB): smooth shapes with noise."""
    random = np.random.default_rng(0)
    (folder / "train" / "class").mkdir(parents=True)
    for number in range(64):
        coarse = Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), dtype=np.int16)
        noisy = smooth + random.normal(0, 16, smooth.shape).astype(np.int16)
        image = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
        image.save(folder / "train" / "class" / f"{number}.jpg", quality=92)
    return open_dataset(f"folder:{folder}").open("train")

"""Images per second: of the backbone, and of decoding them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from cache import chosen_device, seeded_permutation
from configs import UserError
from extract.image_loader import ImageBatch, load_images
from extract.open_backbone import open_backbone
from extract.planning.rates import SECONDS, Measured, wait_for
from extract.planning.work import Work
from extract.sources import ImageSource, open_dataset
from extract.transform import image_transform

DECODE_BATCH = 16
DECODED_AT_MOST = 2**17


def backbone_rate(work: Work) -> tuple[Measured]:
    """Forward passes at the run's batch size, or a smaller one on slow machines.

    The batch grows until it is the run's, or takes all the time there is; that warms up, too. Small batches
    would tell little: on a busy CPU, where threads wait for one another, they are several times slower.
    """
    options, device = work.options, chosen_device(work.options.device)
    backbone = open_backbone(options.backbone, weights=options.weights or "none", amp=options.amp)
    backbone.place_on(device)
    size = (options.batch_size, *backbone.transform["input_size"])
    images = torch.randint(0, 256, size, dtype=torch.uint8)

    def seconds(count: int) -> float:
        started = time.perf_counter()
        backbone(images[:count].to(device), work.blocks)
        wait_for(device)
        return time.perf_counter() - started

    count = 1
    try:
        seconds(count)  # the first call also loads the device's kernels
        spent = [seconds(count)]
        while count < options.batch_size and spent[0] < SECONDS:
            count = min(2 * count, options.batch_size)
            spent = [seconds(count)]
        while sum(spent) < SECONDS:
            spent.append(seconds(count))
    except torch.OutOfMemoryError:
        raise UserError(
            f"a batch of {count} images does not fit on {device}: use a smaller --batch-size"
        ) from None
    weights = ", random weights" if options.weights in (None, "none") else ""
    rate = count * len(spent) / sum(spent)
    return (Measured(rate, f"measured on {device}, batches of {count}{weights}"),)


def decode_rate(work: Work) -> tuple[Measured]:
    """The run's own loader, over the data set where it is on this machine, else over made-up files."""
    if work.source is not None:
        return (_decoding(work, work.source, f"images of {work.dataset}"),)
    with tempfile.TemporaryDirectory() as folder:
        return (_decoding(work, _synthetic_jpegs(Path(folder)), "synthetic JPEGs of 500×375"),)


def _decoding(work: Work, source: ImageSource, what: str) -> Measured:
    workers = work.options.decoding_processes
    batches = _image_batches(work, source, workers)
    for _ in islice(batches, 2 * workers + 1):  # what the workers read ahead while they start
        pass
    images, started = 0, time.perf_counter()
    for batch in batches:
        images += len(batch.records)
        if time.perf_counter() - started > SECONDS:
            break
    rate = images / (time.perf_counter() - started)
    return Measured(rate, f"measured, {workers} worker processes, {what}")


def _image_batches(work: Work, source: ImageSource, workers: int) -> Iterator[ImageBatch]:
    """The run's loader over the images in a record order, again and again where they are few."""
    transform = work.architecture.transform
    return load_images(
        source,
        np.resize(seeded_permutation(len(source), 0), DECODED_AT_MOST),
        [range(start, start + DECODE_BATCH) for start in range(0, DECODED_AT_MOST, DECODE_BATCH)],
        image_transform(transform),
        transform["input_size"],
        workers=workers,
        pin_memory=False,
    )


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

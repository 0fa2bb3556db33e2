"""Images per second: of the backbone, of decoding, and of both at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import torch

from cache import (
    RECORD_ARRAYS,
    DatasetIdentity,
    SplitManifest,
    chosen_device,
    is_out_of_memory,
    seeded_permutation,
    stored_split,
)
from configs import UserError
from extract.backbone import Backbone
from extract.batch_size import LARGEST, fastest_batch_size, seconds_on
from extract.encoding import encode_batch
from extract.image_loader import ImageBatch, load_images
from extract.image_views import ImageViews
from extract.open_backbone import open_backbone
from extract.planning.rates import SECONDS, Measured, Rates, wait_for
from extract.planning.sample_images import sample_images
from extract.planning.work import Work
from extract.sources import ImageSource
from extract.transform import image_transform

DECODING_BATCH = 16
LONGEST_RUN = 2**17
"""Images that a measurement has before it: more than any machine takes in its seconds."""

NOT_STATED = Measured(None, "not stated: the slower of the two counts")


def image_rates(work: Work, stated: Rates) -> dict[str, Measured]:
    """What `stated` leaves open. Both at once are measured only where neither is stated."""
    if stated.backbone_images_per_second is not None:
        decoding = {} if stated.decode_images_per_second else _decoding_alone(work)
        return {**decoding, "extract_images_per_second": NOT_STATED}
    backbone = open_backbone(
        work.options.backbone, weights=work.options.weights or "none", amp=work.options.amp
    )
    backbone.place_on(chosen_device(work.options.device))
    alone, batch_size = backbone_rate(work, backbone)
    if stated.decode_images_per_second is not None:
        return {"backbone_images_per_second": alone, "extract_images_per_second": NOT_STATED}
    with sample_images(work) as (images, what):
        return {
            "backbone_images_per_second": alone,
            "decode_images_per_second": decoding_rate(work, images, what),
            "extract_images_per_second": extraction_rate(work, backbone, images, batch_size),
        }


def _decoding_alone(work: Work) -> dict[str, Measured]:
    with sample_images(work) as (images, what):
        return {"decode_images_per_second": decoding_rate(work, images, what)}


def backbone_rate(work: Work, backbone: Backbone) -> tuple[Measured, int]:
    """Forward passes at the run's batch size, or a smaller one on slow machines; and that size.

    The batch grows until it is the run's, or takes all the time there is; that warms up, too. Each size is
    tried twice: on a busy machine one small batch may take as long as a large one.
    """
    device = chosen_device(work.options.device)
    most = _batch_size(work, backbone)
    size = (most, *backbone.transform["input_size"])
    images = torch.randint(0, 256, size, dtype=torch.uint8)

    def seconds(count: int) -> float:
        started = time.perf_counter()
        backbone(images[:count].to(device), work.blocks)
        wait_for(device)
        return time.perf_counter() - started

    count = 1
    try:
        seconds(count)  # the first call also loads the device's kernels
        spent = [seconds(count), seconds(count)]
        while count < most and min(spent) < SECONDS:
            count = min(4 * count, most)
            spent = [seconds(count), seconds(count)]
        while sum(spent) < SECONDS:
            spent.append(seconds(count))
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            f"a batch of {count} images does not fit on {device}: use a smaller --batch-size"
        ) from None
    weights = ", random weights" if work.options.weights in (None, "none") else ""
    rate = count * len(spent) / sum(spent)
    return Measured(rate, f"measured on {device}, batches of {count}{weights}"), count


def _batch_size(work: Work, backbone: Backbone) -> int:
    """The run's; for `auto` what the store has, or else what is fastest here."""
    if work.options.batch_size != "auto":
        return work.options.batch_size
    for split in work.images:
        stored = stored_split(work.store / work.dataset / split)
        if stored and stored.computation:
            return stored.computation.batch_size
    device = chosen_device(work.options.device)
    seconds = seconds_on(
        device,
        lambda batch: backbone(batch.images.to(device), work.blocks),
        tuple(backbone.transform["input_size"]),
    )
    return fastest_batch_size(seconds, LARGEST)


def decoding_rate(work: Work, images: ImageSource, what: str) -> Measured:
    """The run's own loader, and nothing beside it."""
    rate = _rate(_batches(work, images, DECODING_BATCH), work, lambda batch: None)
    return Measured(rate, f"measured, {work.options.decoding_processes} worker processes, {what}")


def extraction_rate(work: Work, backbone: Backbone, images: ImageSource, batch_size: int) -> Measured:
    """Decoding, the backbone and encoding at once, all but the writing: on a CPU they share the cores."""
    device, manifest = chosen_device(work.options.device), _manifest(work, images)
    rate = _rate(
        _batches(work, images, batch_size),
        work,
        lambda batch: encode_batch(batch, backbone, manifest, device),
    )
    return Measured(rate, "measured, tokens encoded, too")


def _rate(batches: Iterator[ImageBatch], work: Work, use: Callable[[ImageBatch], object]) -> float:
    """Images per second once the loader runs evenly, all of what it read ahead being used up or renewed."""
    device, started = chosen_device(work.options.device), time.perf_counter()
    for batch in islice(batches, 2 * work.options.decoding_processes + 1):
        use(batch)
        if time.perf_counter() - started > SECONDS:
            break
    wait_for(device)
    images, started = 0, time.perf_counter()
    for batch in batches:
        use(batch)
        images += len(batch.records)
        if time.perf_counter() - started > SECONDS:
            break
    wait_for(device)
    return images / (time.perf_counter() - started)


def _batches(work: Work, images: ImageSource, batch_size: int) -> Iterator[ImageBatch]:
    """The run's loader over the images in a record order, again and again where they are few."""
    transform = work.architecture.transform
    return load_images(
        images,
        np.resize(seeded_permutation(len(images), 0), LONGEST_RUN),
        [range(start, start + batch_size) for start in range(0, LONGEST_RUN - batch_size + 1, batch_size)],
        ImageViews(image_transform(transform), tuple(transform["input_size"])),
        workers=work.options.decoding_processes,
        device=chosen_device(work.options.device),
    )


def _manifest(work: Work, images: ImageSource) -> SplitManifest:
    """Of a split that is never written: which arrays its tokens are encoded for."""
    arrays = work.architecture.geometry.block_arrays
    return SplitManifest(
        dataset=DatasetIdentity(
            name=work.dataset, split="measurement", source="", fingerprint="", samples=len(images)
        ),
        classes=images.classes,
        records=len(images),
        views=1,
        order="",
        format="zarr",
        shard_size=1,
        arrays=tuple(a for block in work.blocks for a in arrays(block, work.options.dtype)) + RECORD_ARRAYS,
    )

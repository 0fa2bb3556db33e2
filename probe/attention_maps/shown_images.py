"""The images that pictures show: pixels as the backbone saw them, tokens, and what they are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from cache import THUMBNAILS, SplitReader, Store, chosen_device
from configs import UserError
from extract.images import open_image, to_rgb, why_unreadable
from extract.transform import image_transform, least_side
from probe.attention_maps.head_tokens import live_tokens, stored_tokens
from probe.attention_maps.options import DEFAULT_SAMPLES, AttentionOptions
from probe.attention_maps.originals import load_original, open_originals
from probe.deployment.same_backbone import open_same_backbone
from probe.trained_head import TrainedHead


@dataclass(frozen=True)
class ShownImages:
    """n images."""

    pictures: Sequence[np.ndarray]
    """(H, W, 3) uint8 each, of one size."""
    names: Sequence[str]
    tokens: Mapping[str, torch.Tensor]
    """What each head reads of them, by trial: (n, N, D) float32."""


def of_split(
    heads: Sequence[TrainedHead], store: Store, split: SplitReader, options: AttentionOptions
) -> ShownImages:
    """The split's first readable images. Raises `UserError` where there are no pictures of them."""
    count = options.samples or DEFAULT_SAMPLES
    device = torch.device("cpu")
    batches = stored_tokens(heads, split, store.final_norm, count, device, count)
    batch = next(iter(batches))
    classes = split.manifest.classes
    return ShownImages(
        _pictures(split, batch.records, heads[0], options.dataset),
        [classes[label] for label in batch.labels.tolist()],
        batch.tokens,
    )


def _pictures(
    split: SplitReader, records: np.ndarray, head: TrainedHead, dataset: str | None
) -> Sequence[np.ndarray]:
    held = {array.name: array for array in split.manifest.arrays}
    if THUMBNAILS in held and dataset is None:
        found = np.empty((len(records), *held[THUMBNAILS].record_shape), np.uint8)
        split.gather(THUMBNAILS, records, found)
        return list(found)
    try:
        source = open_originals(split, dataset)
    except UserError as error:
        raise UserError(
            f"no pictures of {split.name}: it holds no thumbnails (`extract --thumbnails 112`), and {error}"
        ) from None
    transform = image_transform(dict(head.backbone.transform))
    samples = split.whole("sample_id")[records].tolist()
    return [transform(load_original(source, sample)).transpose(1, 2, 0) for sample in samples]


def of_files(heads: Sequence[TrainedHead], options: AttentionOptions) -> ShownImages:
    """`--images`, through the backbone. Raises `UserError` where one cannot be read."""
    backbone = open_same_backbone(
        heads[0].backbone, str(heads[0].run), backbone=options.backbone, weights=options.weights
    )
    device = chosen_device(options.device)
    backbone.place_on(device)
    transform, least = image_transform(backbone.transform), least_side(backbone.transform)
    images = np.stack([transform(_opened(path, least)) for path in options.images])
    parts = [
        live_tokens(heads, backbone, torch.from_numpy(images[first : first + options.batch_size]).to(device))
        for first in range(0, len(images), options.batch_size)
    ]
    tokens = {head.trial: torch.cat([part[head.trial] for part in parts]).cpu() for head in heads}
    return ShownImages(list(images.transpose(0, 2, 3, 1)), [path.name for path in options.images], tokens)


def _opened(path: Path, least_side: int | None) -> Image.Image:
    try:
        return to_rgb(open_image(path), least_side)
    except Exception as error:  # Pillow's plugins raise anything on damaged files
        raise UserError(f"--images: cannot read {path}: {why_unreadable(error)}") from None

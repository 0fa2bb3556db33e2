"""Several views of one image: the plain one that evaluation sees, then augmented ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

from cache import SplitManifest, random_bits
from configs import UserError
from extract.transform import DECODE, TorchResize, image_transform, least_side, torch_resize

RATIO = (3 / 4, 4 / 3)
ATTEMPTS = 10
"""At a crop inside the image; after them the largest central one is taken."""

VIEWS_BITS = 16
_STREAMS = 1 << 62
"""Added to an image's number, so that its draws are not those of a record order or an epoch."""


@dataclass(frozen=True)
class RandomCrops:
    """Crops of a share of the image's area (least and most), resized bicubically, some of them mirrored."""

    scale: tuple[float, float]
    flipped: float = 0.0
    """Share of the crops that are mirrored."""


AUGMENTATIONS: dict[str, RandomCrops] = {
    # RandomResizedCrop and flip as torchvision trains (Szegedy et al. 2015, arXiv 1409.4842)
    "rrc_flip": RandomCrops((0.08, 1.0), flipped=0.5),
    # where a part of an image, or its mirror image, is another class: digits, text, signs
    "rrc_mild": RandomCrops((0.5, 1.0)),
}
"""What `--augment` offers."""


@dataclass(frozen=True)
class ImageViews:
    """RGB image and its sample id → its views, (V, 3, H, W) uint8.

    View 0 is `plain`'s; the others follow from (seed, sample id, view) alone.
    """

    plain: Callable[[Image.Image], np.ndarray]
    input_size: tuple[int, ...]
    views: int = 1
    seed: int = 0
    least_side: int | None = None
    """The shorter side that a JPEG keeps when it is decoded smaller; None: it is decoded whole."""
    crops: RandomCrops = AUGMENTATIONS["rrc_flip"]
    device_resize: TorchResize | None = None
    """What resizes JPEGs that the backbone's device decodes; None: data workers decode and resize all."""

    def __call__(self, image: Image.Image, sample: int) -> np.ndarray:
        augmented = (self._augmented(image, sample, view) for view in range(1, self.views))
        return np.stack([self.plain(image), *augmented])

    def _augmented(self, image: Image.Image, sample: int, view: int) -> np.ndarray:
        draws = _uniform(self.seed, sample, view)
        top, left, height, width = random_crop(image.height, image.width, draws[1:], self.crops.scale)
        crop = transforms.resized_crop(
            image, top, left, height, width, list(self.input_size[1:]), InterpolationMode.BICUBIC
        )
        upright = transforms.hflip(crop) if draws[0] < self.crops.flipped else crop
        return np.asarray(upright).transpose(2, 0, 1)


def plain_view(settings: dict[str, Any]) -> ImageViews:
    """The one view of an image that evaluation sees, under the backbone's transform `settings`."""
    return ImageViews(
        image_transform(settings),
        tuple(settings["input_size"]),
        least_side=least_side(settings),
        device_resize=torch_resize(settings) if DECODE in settings else None,
    )


def split_views(manifest: SplitManifest, settings: dict[str, Any]) -> ImageViews:
    """The views that a split holds, of images under the backbone's transform `settings`.

    Raises `UserError` where they were made in a way that is not known here.
    """
    if manifest.views == 1:
        return plain_view(settings)
    plain, size = image_transform(settings), tuple(settings["input_size"])
    augmentation = manifest.augmentation
    if augmentation is None or augmentation.name not in AUGMENTATIONS:
        made = f"by {augmentation.name}" if augmentation else "in a way that is not stated"
        split = f"{manifest.dataset.name}/{manifest.dataset.split}"
        raise UserError(f"{split} has views that were made {made}: known here are {', '.join(AUGMENTATIONS)}")
    return ImageViews(plain, size, manifest.views, augmentation.seed, crops=AUGMENTATIONS[augmentation.name])


def random_crop(
    height: int, width: int, draws: np.ndarray, scale: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Top, left, height and width of a crop: torchvision's `RandomResizedCrop.get_params`.

    `draws`: (4 · ATTEMPTS,) float64 in [0, 1).
    """
    for area, ratio, down, right in draws.reshape(ATTEMPTS, 4).tolist():
        target = height * width * (scale[0] + (scale[1] - scale[0]) * area)
        low, high = map(math.log, RATIO)
        aspect = math.exp(low + (high - low) * ratio)
        w, h = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(down * (height - h + 1)), int(right * (width - w + 1)), h, w
    w = min(width, max(1, round(height * RATIO[1])))
    h = min(height, max(1, round(width / RATIO[0])))
    return (height - h) // 2, (width - w) // 2, h, w


def _uniform(seed: int, sample: int, view: int) -> np.ndarray:
    """(1 + 4 · ATTEMPTS,) float64 in [0, 1): for the flip, then for the crop."""
    bits = random_bits(1 + 4 * ATTEMPTS, seed, _STREAMS + (sample << VIEWS_BITS) + view)
    return (bits >> np.uint64(11)) * 2.0**-53

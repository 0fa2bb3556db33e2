"""Views of an image: the plain one, and augmented ones that (seed, sample id, view) decide."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

from cache import random_bits
from extract.image_views import ATTEMPTS, AUGMENTATIONS, ImageViews, random_crop
from extract.options import AugmentationName

SIZE = (3, 8, 8)
SCALE = AUGMENTATIONS["rrc_flip"].scale


@pytest.fixture(scope="module")
def image() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def plain(image: Image.Image) -> np.ndarray:
    return np.asarray(image.resize((8, 8))).transpose(2, 0, 1)


def draws(number: int) -> np.ndarray:
    return random_bits(4 * ATTEMPTS, 5, number) / 2.0**64


def test_the_first_view_is_the_plain_one(image: Image.Image) -> None:
    views = ImageViews(plain, SIZE, views=3)(image, 4)
    assert (views.shape, views.dtype) == ((3, *SIZE), np.uint8)
    assert np.array_equal(views[0], plain(image))


def test_a_view_follows_from_seed_sample_and_view_alone(image: Image.Image) -> None:
    few, many = ImageViews(plain, SIZE, views=2, seed=7), ImageViews(plain, SIZE, views=5, seed=7)
    many(image, 99)
    assert np.array_equal(many(image, 4)[:2], few(image, 4))


def test_other_seeds_samples_and_views_are_other_crops(image: Image.Image) -> None:
    made = [ImageViews(plain, SIZE, 4, seed)(image, sample)[1:] for seed in (0, 1) for sample in (4, 5)]
    found = {view.tobytes() for views in made for view in views}
    assert len(found) == 2 * 2 * 3


def test_an_augmented_view_is_a_bicubic_crop_upright_or_mirrored(image: Image.Image) -> None:
    bits = random_bits(1 + 4 * ATTEMPTS, 7, (1 << 62) + (4 << 16) + 1)
    uniform = (bits >> np.uint64(11)) * 2.0**-53
    box = random_crop(40, 60, uniform[1:], SCALE)
    crop = transforms.resized_crop(image, *box, [8, 8], InterpolationMode.BICUBIC)
    wanted = np.asarray(transforms.hflip(crop) if uniform[0] < 0.5 else crop).transpose(2, 0, 1)
    assert np.array_equal(ImageViews(plain, SIZE, 2, seed=7)(image, 4)[1], wanted)


def test_crops_have_the_areas_and_shapes_of_random_resized_crop() -> None:
    boxes = np.array([random_crop(300, 400, draws(number), SCALE) for number in range(2000)])
    top, left, height, width = boxes.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= 300).all()
    assert (left + width <= 400).all()
    area, ratio = height * width / (300 * 400), width / height
    assert (area.min() > 0.075, area.max() <= 1) == (True, True)
    assert (ratio.min() > 0.74, ratio.max() < 1.35) == (True, True)
    assert 0.4 < area.mean() < 0.6


def test_a_mild_view_holds_half_of_the_image_or_more_and_is_upright() -> None:
    left_to_right = Image.fromarray(np.tile(np.arange(60, dtype=np.uint8), (40, 1))).convert("RGB")
    mild = ImageViews(plain, SIZE, 33, crops=AUGMENTATIONS["rrc_mild"])
    for view in mild(left_to_right, 4)[1:, 0].astype(int):
        assert (np.diff(view.mean(axis=0)) > 0).all()
    boxes = np.array([random_crop(300, 400, draws(number), (0.5, 1.0)) for number in range(500)])
    assert 0.49 < (boxes[:, 2] * boxes[:, 3]).min() / (300 * 400) < 0.55


def test_every_augmentation_can_be_asked_for_by_name() -> None:
    assert get_args(AugmentationName) == tuple(AUGMENTATIONS)


@pytest.mark.parametrize(
    ("height", "width", "wanted"),
    [(10, 2000, (0, 993, 10, 13)), (2000, 10, (993, 0, 13, 10))],
    ids=["wide", "high"],
)
def test_of_a_strip_the_central_crop_is_taken(
    height: int, width: int, wanted: tuple[int, int, int, int]
) -> None:
    largest = np.tile([1 - 1e-9, 0.5, 0.5, 0.5], ATTEMPTS)
    assert random_crop(height, width, largest, SCALE) == wanted

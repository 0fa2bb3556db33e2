"""`--resize torch` and `--decode-scale`: how near their pixels are, and that stores keep to them."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torchvision.transforms.v2.functional import pil_to_tensor, resize

from cache import Store
from configs import UserError
from extract import transform
from extract.command import extract
from extract.images import open_image, to_rgb
from extract.options import ExtractOptions
from extract.repair_command import RepairOptions, repair
from extract.transform import image_transform, least_side, torch_resize

SETTINGS: dict[str, Any] = {
    "input_size": [3, 96, 96],
    "interpolation": "bicubic",
    "mean": [0.5] * 3,
    "std": [0.5] * 3,
    "crop_pct": 0.9,
    "crop_mode": "center",
}


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    return Image.fromarray(load_sample_image("china.jpg"))  # 640 × 427


def _jpeg(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=95)
    return stream.getvalue()


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("crop_mode", ["center", "squash"])
def test_resizing_by_torch_is_within_two_steps_of_pillow(
    photograph: Image.Image, interpolation: str, crop_mode: str
) -> None:
    settings = SETTINGS | {"interpolation": interpolation, "crop_mode": crop_mode}
    expected = image_transform(settings)(photograph).astype(int)
    found = image_transform(settings | {"resize": "torch"})(photograph)
    assert found.dtype == np.uint8
    assert found.shape == (3, 96, 96)
    assert np.abs(found - expected).max() <= 2
    assert (found != expected).mean() < 0.03


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("crop_mode", ["center", "squash"])
@pytest.mark.parametrize("size", [(640, 427), (427, 640), (333, 211), (20, 30), (96, 96), (1, 1)])
def test_resizing_in_float_as_on_cuda_is_within_two_steps_of_pillow(
    photograph: Image.Image,
    size: tuple[int, int],
    interpolation: str,
    crop_mode: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = SETTINGS | {"interpolation": interpolation, "crop_mode": crop_mode}
    image = photograph.resize(size)
    pixels, resized = pil_to_tensor(image), torch_resize(settings)
    assert torch.equal(resized.crop(resized.in_two_steps(pixels)), resized.of_pixels(pixels))
    monkeypatch.setattr(transform, "resize_eight_bit", _in_float)
    found = resized.crop(resized.in_two_steps(pixels)).numpy().astype(int)
    difference = np.abs(found - image_transform(settings)(image))
    assert difference.max() <= 2
    assert difference.mean() < 0.05


def _in_float(pixels: torch.Tensor, *arguments: Any, **named: Any) -> torch.Tensor:
    """What torchvision does on CUDA."""
    return resize(pixels.float(), *arguments, **named).clamp(0, 255).round().to(torch.uint8)


@pytest.mark.parametrize("size", [(20, 30), (96, 96), (1, 1)])
def test_small_images_are_enlarged_by_torch_as_by_pillow(
    size: tuple[int, int], photograph: Image.Image
) -> None:
    small = photograph.resize(size)
    expected = image_transform(SETTINGS)(small).astype(int)
    assert np.abs(image_transform(SETTINGS | {"resize": "torch"})(small) - expected).max() <= 2


@pytest.mark.parametrize("change", [{"interpolation": "lanczos"}, {"crop_mode": "border"}])
def test_what_torch_cannot_resize_as_pillow_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(UserError, match="--resize torch has bicubic and bilinear resizing only"):
        image_transform(SETTINGS | {"resize": "torch"} | change)


@pytest.mark.parametrize(("scale", "size"), [(1.0, (160, 107)), (2.0, (320, 214)), (4.5, (640, 427))])
def test_a_jpeg_is_decoded_as_small_as_the_scale_allows(
    scale: float, size: tuple[int, int], photograph: Image.Image
) -> None:
    least = least_side(SETTINGS | {"decode_scale": scale, "crop_pct": 1.0, "input_size": [3, 95, 95]})
    image = open_image(_jpeg(photograph))
    found = to_rgb(image, least)
    assert found.size == size
    assert min(found.size) >= min(95 * scale, 427)


def test_without_the_option_images_are_decoded_whole() -> None:
    assert least_side(SETTINGS) is None


def test_a_png_is_decoded_whole(photograph: Image.Image) -> None:
    stream = io.BytesIO()
    photograph.save(stream, "PNG")
    image = open_image(stream.getvalue())
    assert to_rgb(image, 50).size == (640, 427)


@pytest.mark.parametrize("name", ["cmyk", "grey", "rotated"])
def test_jpegs_of_every_kind_are_decoded_smaller(name: str, mixed_images: Path) -> None:
    image = open_image(mixed_images / "bird" / f"{name}.jpg")
    found = np.asarray(to_rgb(image, 30)).astype(int)
    whole = to_rgb(Image.open(mixed_images / "bird" / f"{name}.jpg"))
    assert found.shape == (30, 45, 3)
    assert abs(found - np.asarray(whole.resize((45, 30)))).mean() < 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, photograph: Image.Image) -> Path:
    root = tmp_path_factory.mktemp("photographs")
    for number in range(3):
        (root / "one").mkdir(exist_ok=True)
        (root / "one" / f"{number}.jpg").write_bytes(_jpeg(photograph.rotate(number)))
    return root


def _extract(store: Path, folder: Path, **changes: object) -> None:
    settings = {"backbone": "mae_digits", "dataset": f"folder:{folder}", "workers": 0, "batch_size": 2}
    extract(ExtractOptions(**{**settings, "out": store, **changes}))


@pytest.mark.parametrize("change", [{"resize": "torch"}, {"decode_scale": 2.0}])
def test_the_store_says_so_keeps_to_it_and_is_repaired_so(
    change: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    _extract(store, folder, **change)
    ((name, value),) = change.items()
    assert Store(store).manifest.backbone.transform[name] == value
    with pytest.raises(UserError, match=rf"backbone\.transform\.{name} \({value} there, None here\)"):
        _extract(store, folder)
    (records,) = (path for path in store.rglob("patches/c/*/0/0/0") if path.is_file())
    whole = records.read_bytes()
    records.write_bytes(bytes(64) + whole[64:])
    repair(RepairOptions(path=store, backbone="mae_digits", dataset=f"folder:{folder}", workers=0))
    assert records.read_bytes() == whole
    shutil.rmtree(store)


def test_they_are_for_one_view() -> None:
    with pytest.raises(UserError, match="are for one view: leave --views out"):
        ExtractOptions(backbone="mae_digits", dataset="digits", decode_scale=1, views=2, augment="rrc_flip")

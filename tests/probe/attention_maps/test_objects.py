"""Boxes of data sets, and where they lie on the tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs import UserError
from extract.transform import image_transform
from probe.attention_maps.objects import object_mask, read_objects

CENTRE = {
    "input_size": [3, 32, 32], "interpolation": "bicubic", "mean": [0.5] * 3, "std": [0.5] * 3,
    "crop_pct": 1.0, "crop_mode": "center",
}  # fmt: skip

VOC = """<annotation>
<object><bndbox><xmin>10</xmin><ymin>20</ymin><xmax>29</xmax><ymax>59</ymax></bndbox></object>
<object><bndbox><xmin>0</xmin><ymin>0</ymin><xmax>4</xmax><ymax>4</ymax></bndbox></object></annotation>"""


def test_a_box_covers_the_tokens_that_it_is_drawn_over() -> None:
    # 200 × 100 is resized to 64 × 32, of which the middle 32 columns stay: x 50 … 150 of the image
    mask = object_mask([(100, 50, 150, 100)], (200, 100), CENTRE)
    cells = mask.reshape(4, 8, 4, 8).mean(axis=(1, 3))
    wanted = np.zeros((4, 4))
    wanted[2:, 2:] = 1
    np.testing.assert_array_equal(cells, wanted)


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("size", [(90, 60), (50, 160), (33, 32)])
def test_a_mask_lies_where_the_object_lies_in_the_transformed_image(mode: str, size: tuple[int, int]) -> None:
    settings = CENTRE | {"crop_mode": mode, "crop_pct": 0.875}
    pixels = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    pixels[20:40, 10:30] = 255
    seen = image_transform(settings)(Image.fromarray(pixels))[0] >= 128
    np.testing.assert_array_equal(object_mask([(10, 20, 30, 40)], size, settings), seen)


def test_several_boxes_are_one_mask() -> None:
    mask = object_mask([(0, 0, 8, 8), (24, 24, 32, 32)], (32, 32), CENTRE)
    assert mask[:8, :8].all()
    assert mask[24:, 24:].all()
    assert int(mask.sum()) == 128


def test_boxes_by_sample_id(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("sample_id,x0,y0,x1,y1\n7,0,0,4,5\n7,1,1,2,2\n")
    objects = read_objects(tmp_path / "boxes.csv")
    assert objects.of(7, "any") == [(0, 0, 4, 5), (1, 1, 2, 2)]
    assert not objects.of(8, "any")


def test_boxes_by_path_fit_its_end(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("path,x0,y0,x1,y1\ncat/1.jpg,0,0,4,5\n")
    objects = read_objects(tmp_path / "boxes.csv")
    assert objects.of(0, "/data/val/cat/1.jpg") == [(0, 0, 4, 5)]
    assert not objects.of(0, "/data/val/dog/1.jpg")


def test_boxes_of_cub(tmp_path: Path) -> None:
    (tmp_path / "images.txt").write_text("1 001.Albatross/A_1.jpg\n2 002.Auk/B_2.jpg\n")
    (tmp_path / "bounding_boxes.txt").write_text("1 60.0 27.0 325.0 304.0\n2 1 2 3 4\n")
    assert read_objects(tmp_path).of(0, "/x/images/002.Auk/B_2.jpg") == [(1, 2, 4, 6)]


def test_boxes_of_imagenet(tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "ILSVRC2012_val_00000007.xml").write_text(VOC)
    found = read_objects(tmp_path).of(0, "/x/val/n01440764/ILSVRC2012_val_00000007.JPEG")
    assert found == [(10, 20, 30, 60), (0, 0, 5, 5)]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_masks_lie_as_their_images_do(tmp_path: Path, mode: str) -> None:
    inside = np.zeros((60, 90), dtype=bool)
    inside[20:40, 10:30] = True
    if mode == "P":
        mask = Image.fromarray(inside.astype(np.uint8))
        mask.putpalette([0, 0, 0, 0, 0, 0])  # all black: the index counts, not the colour
    else:
        mask = Image.fromarray(inside).convert(mode)
    (tmp_path / "002.Auk").mkdir()
    mask.save(tmp_path / "002.Auk" / "B_2.png")
    found = read_objects(tmp_path).of(0, "/x/images/002.Auk/B_2.jpg")
    wanted = object_mask([(10, 20, 30, 40)], (90, 60), CENTRE)
    np.testing.assert_array_equal(object_mask(found, (90, 60), CENTRE), wanted)


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    Image.new("L", (9, 6)).save(tmp_path / "one.png")
    found = read_objects(tmp_path).of(0, "one.jpg")
    with pytest.raises(UserError, match=r"one\.png is 9 × 6, its image 90 × 60"):
        object_mask(found, (90, 60), CENTRE)


def _file(name: str, text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_text(text)
        return folder / name

    return make


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: folder / "none", "there is no such file or folder"),
        (lambda folder: folder, r"holds bounding_boxes.txt \(CUB\), XML files \(ImageNet\) or masks"),
        (_file("b.csv", "a,b\n1,2\n"), "the first line names the columns"),
        (_file("b.csv", "sample_id,x0,y0,x1,y1\n1,0,0,1,1\n2,0,zero,1,1\n"), "line 3: .* is no number"),
        (_file("b.csv", "sample_id,x0,y0,x1,y1\n1,0,0\n"), "line 2: .* is no number"),
        (_file("b.csv", "sample_id,x0,y0,x1,y1\n1,0,0,1,inf\n"), "line 2: .* is no number"),
    ],
)
def test_what_holds_no_boxes_is_refused(tmp_path: Path, make: Callable[[Path], Path], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_objects(make(tmp_path))


def test_broken_annotations_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "one.xml").write_text(VOC.replace("29", "wide"))
    with pytest.raises(UserError, match=r"one\.xml is no annotation"):
        read_objects(tmp_path)
    cub = tmp_path / "cub"
    cub.mkdir()
    (cub / "images.txt").write_text("1 a.jpg\n")
    (cub / "bounding_boxes.txt").write_text("2 1 2 3 4\n")
    with pytest.raises(UserError, match="do not fit: unpack the archive again"):
        read_objects(cub)

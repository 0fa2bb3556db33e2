"""`extract --thumbnails`: small pictures beside the tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from PIL import Image

from cache import DeriveOptions, Store, derive_store, verify_store
from configs import UserError, parse
from extract import ExtractOptions
from extract.command import extract
from extract.options import TokenOptions
from extract.planning.work import plan_work
from extract.repair_command import RepairOptions, repair
from extract.sources.digits import DigitsSource
from extract.thumbnails import thumbnail_spec, thumbnails
from extract.transform import image_transform


@pytest.fixture
def digits(tmp_path: Path) -> Callable[..., Path]:
    """Extract 40 digits of each split with thumbnails of 16 pixels, and more options."""

    def run(name: str, *words: str) -> Path:
        usual = "--backbone mae_digits --dataset digits --limit 40 --workers 0 --device cpu --shard-size 16"
        argv = [*usual.split(), "--thumbnails", "16", "--out", str(tmp_path / name), *words]
        extract(parse(ExtractOptions, prog="extract", argv=argv))
        return tmp_path / name

    return run


@pytest.mark.parametrize(
    ("side", "size", "wanted"),
    [(112, (3, 224, 224), (112, 112)), (60, (3, 100, 300), (20, 60)), (112, (3, 32, 32), (32, 32))],
)
def test_the_longer_side_is_at_most_what_was_asked_for(
    side: int, size: tuple[int, ...], wanted: tuple[int, int]
) -> None:
    assert thumbnail_spec(side, size).record_shape == (*wanted, 3)


def test_a_thumbnail_is_the_picture_made_small() -> None:
    images = torch.zeros(2, 3, 32, 64, dtype=torch.uint8)
    images[1, 0, 16:, 32:] = 200
    small = thumbnails(images, thumbnail_spec(8, (3, 32, 64)))
    assert (small.shape, small.dtype) == ((2, 4, 8, 3), torch.uint8)
    assert not small[0].any()
    assert (small[1, 3, 6, 0], small[1, 0, 6, 0], small[1, 3, 6, 1]) == (200, 0, 0)


@pytest.mark.parametrize("form", ["zarr", "hdf5"])
def test_thumbnails_are_what_the_backbone_saw(digits: Callable[..., Path], form: str) -> None:
    split = Store(digits(form, "--format", form)).split("digits", "test")
    transform = image_transform(Store(split.folder.parent.parent).manifest.backbone.transform)
    held, source = split.whole("thumbnails"), DigitsSource("test")
    assert (held.shape, held.dtype) == ((40, 16, 16, 3), np.uint8)
    for record, sample in enumerate(split.whole("sample_id").tolist()):
        seen = transform(source.load(sample).convert("RGB")).transpose(1, 2, 0)
        halved = np.asarray(Image.fromarray(seen).resize((16, 16), Image.Resampling.BOX)).astype(int)
        assert np.abs(held[record].astype(int) - halved).mean() < 6


def test_stock_zarr_reads_thumbnails(digits: Callable[..., Path]) -> None:
    store = digits("zarr")
    found = zarr.open_array(store / "digits" / "test" / "thumbnails", mode="r")
    np.testing.assert_array_equal(found[:], Store(store).split("digits", "test").whole("thumbnails"))


def test_thumbnails_leave_the_tokens_as_they_are(digits: Callable[..., Path], tmp_path: Path) -> None:
    usual = "--backbone mae_digits --dataset digits --limit 40 --workers 0 --device cpu --shard-size 16"
    extract(parse(ExtractOptions, prog="extract", argv=[*usual.split(), "--out", str(tmp_path / "plain")]))
    with_, without = (Store(s).split("digits", "test") for s in (digits("zarr"), tmp_path / "plain"))
    assert "thumbnails" not in {array.name for array in without.manifest.arrays}
    np.testing.assert_array_equal(with_.whole("block5/patches"), without.whole("block5/patches"))


def test_thumbnails_are_of_the_plain_view_alone(digits: Callable[..., Path]) -> None:
    plain = Store(digits("zarr")).split("digits", "train")
    several = Store(digits("views", "--views", "3", "--augment", "rrc_flip")).split("digits", "train")
    np.testing.assert_array_equal(several.whole("thumbnails"), plain.whole("thumbnails"))


@pytest.mark.parametrize("form", ["zarr", "hdf5"])
def test_a_flipped_bit_is_found_and_mended(digits: Callable[..., Path], form: str) -> None:
    store = digits(form, "--format", form)
    split = Store(store).split("digits", "train")
    whole = split.whole("thumbnails").copy()
    extent = split.extent("thumbnails", 1)
    with extent.path.open("r+b") as file:
        file.seek(extent.offset + 5 * 16 * 16 * 3 + 77)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 4]))
    assert ["thumbnails" in damage.what for damage in verify_store(Store(store), 1, lambda _: None)] == [True]
    repair(RepairOptions(path=store, backbone="mae_digits", dataset="digits", workers=0, device="cpu"))
    assert not list(verify_store(Store(store), 1, lambda _: None))
    np.testing.assert_array_equal(Store(store).split("digits", "train").whole("thumbnails"), whole)


@pytest.mark.parametrize("options", [{}, {"pool": 2}, {"dtype": "int8"}, {"format": "hdf5"}])
def test_derived_stores_keep_the_thumbnails_of_their_records(
    digits: Callable[..., Path], tmp_path: Path, options: dict[str, object]
) -> None:
    store = digits("zarr")
    derive_store(DeriveOptions(source=store, out=tmp_path / "half", fraction=0.5, **options))
    old, new = (Store(s).split("digits", "train") for s in (store, tmp_path / "half"))
    places = np.flatnonzero(np.isin(old.whole("sample_id"), new.whole("sample_id")))
    np.testing.assert_array_equal(new.whole("thumbnails"), old.whole("thumbnails")[places])


def test_derive_leaves_thumbnails_out_where_others_are_named(
    digits: Callable[..., Path], tmp_path: Path
) -> None:
    store = digits("zarr")
    for keep, held in ((("mean",), False), (("mean", "thumbnails"), True)):
        out = tmp_path / "-".join(keep)
        derive_store(DeriveOptions(source=store, out=out, keep=keep))
        arrays = {array.name for array in Store(out).split("digits", "test").manifest.arrays}
        assert ("thumbnails" in arrays) == held
        assert "block5/patches" not in arrays
    with pytest.raises(UserError, match="holds no thumbnails"):
        derive_store(DeriveOptions(source=tmp_path / "mean", out=tmp_path / "x", keep=("mean", "thumbnails")))


def test_a_plan_counts_thumbnails() -> None:
    usual = {"backbone": "mae_digits", "dataset": "digits"}
    without, with_ = (plan_work(TokenOptions(**usual, **more)) for more in ({}, {"thumbnails": 16}))
    added = with_.record_bytes((5,), "float16") - without.record_bytes((5,), "float16")
    assert added == 16 * 16 * 3

"""A folder of images of mixed sizes and modes, through any timm model."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from PIL import Image

from cache import Store, TokenDataset
from extract import open_backbone
from extract.images import to_rgb
from extract.sources import open_dataset
from extract.transform import image_transform

Run = Callable[..., subprocess.CompletedProcess[str]]
MODEL = "timm:vit_small_patch16_224"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, mixed_images: Path, run: Run) -> Path:
    folder = tmp_path_factory.mktemp("folder")
    finished = run(
        "extract", "--backbone", MODEL, "--weights", "none", "--dataset", f"folder:{mixed_images}",
        "--blocks", "5,11", "--dtype", "float32", "--batch-size", "4", "--out", "store",
        cwd=folder,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    return folder / "store"


def test_every_image_is_stored_as_the_backbone_sees_it(store: Path, mixed_images: Path) -> None:
    (dataset,) = Store(store).splits()
    split = Store(store).split(dataset, "train")
    records = TokenDataset(split, 11, ["patches", "prefix"])
    source = open_dataset(f"folder:{mixed_images}").open("train")
    backbone = open_backbone(MODEL, weights="none")
    transform = image_transform(backbone.transform)
    sample_id = split.whole("sample_id")
    assert sorted(sample_id) == list(range(11))
    for record, sample in enumerate(sample_id.tolist()):
        image = torch.from_numpy(transform(to_rgb(source.load(sample))))[None]
        expected = backbone(image, [11])[11]
        stored = records[record]
        assert stored.patches is not None
        torch.testing.assert_close(stored.patches, expected.patches, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(stored.prefix, expected.prefix, rtol=1e-4, atol=1e-4)
        assert stored.labels.item() == source.labels[sample]


def test_stock_zarr_reads_both_blocks(store: Path) -> None:
    (dataset,) = Store(store).splits()
    group = zarr.open_group(store / dataset / "train", mode="r")
    for block in (5, 11):
        patches = np.asarray(group[f"block{block}/patches"])
        assert patches.shape == (1, 11, 196, 384)
        np.testing.assert_allclose(group[f"block{block}/mean"], patches.mean(axis=2), rtol=1e-4, atol=1e-5)


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Six images, one of them cut off."""
    root = tmp_path / "animals"
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for number in range(3):
            noise = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(noise).save(root / name / f"{number}.jpg")
    path = root / "dog" / "1.jpg"
    path.write_bytes(path.read_bytes()[:700])
    return root


WORDS = ("--backbone", "timm:test_vit", "--weights", "none")


def test_an_unreadable_image_stops_the_run_and_is_named(tmp_path: Path, damaged: Path, run: Run) -> None:
    finished = run("extract", *WORDS, "--dataset", f"folder:{damaged}", cwd=tmp_path)
    assert finished.returncode == 2
    assert finished.stderr.count("\n") == 1
    assert "cannot read" in finished.stderr
    assert "dog/1.jpg: image file is truncated" in finished.stderr
    assert not list(tmp_path.rglob("*.tmp"))


def test_skipped_images_are_recorded_and_left_out(tmp_path: Path, damaged: Path, run: Run) -> None:
    finished = run(
        "extract", *WORDS, "--dataset", f"folder:{damaged}", "--on-error", "skip", "--out", "store",
        cwd=tmp_path,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    assert "5 images, 1 left out (unreadable)" in finished.stdout
    split = Store(tmp_path / "store").split("animals", "train")
    ((record, reason),) = split.shard_record(0).skipped.items()
    assert "dog/1.jpg" in reason
    dataset = TokenDataset(split, len(open_backbone(WORDS[1], weights="none").blocks) - 1, ["patches"])
    assert len(dataset) == 5
    assert record not in dataset.records
    assert split.whole("labels")[record] == -1
    assert not split.shard(next(a.name for a in split.manifest.arrays), 0)[record].any()


def test_a_store_of_changed_images_is_refused(
    tmp_path: Path, damaged: Path, run: Run, files: Callable[[Path], Mapping[str, bytes]]
) -> None:
    (damaged / "dog" / "1.jpg").unlink()
    first = run("extract", *WORDS, "--dataset", f"folder:{damaged}", "--out", "store", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    before = files(tmp_path / "store")
    shutil.copy(damaged / "cat" / "0.jpg", damaged / "cat" / "9.jpg")
    second = run("extract", *WORDS, "--dataset", f"folder:{damaged}", "--out", "store", cwd=tmp_path)
    assert second.returncode == 2
    assert "dataset.fingerprint" in second.stderr
    assert files(tmp_path / "store") == before

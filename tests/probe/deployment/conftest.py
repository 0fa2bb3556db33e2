"""Digits as images, as a store of the bundled backbone, and runs on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from extract.command import extract
from extract.options import ExtractOptions
from extract.sources.digits import DigitsSource
from probe import FitOptions, run_fit
from probe.deployment.head_description import HeadDescription
from probe.deployment.image_classifier import ImageClassifier
from probe.deployment.same_backbone import open_same_backbone
from probe.trained_head import load_head

IMAGES = 96


@dataclass(frozen=True)
class Digits:
    """A store of 96 training and 96 test images, and the test images as files."""

    store: Path
    run: Path
    """Four probes on the last block before the final norm."""
    combined: Path
    """Two probes on blocks 5 and 2 side by side, after the final norm."""
    images: Path
    """`CLASS/SAMPLE.png`, those of the store's test split."""


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    """Do not change it."""
    folder = tmp_path_factory.mktemp("digits")
    store, runs = folder / "mae_digits", folder / "runs"
    words = {"backbone": "mae_digits", "dataset": "digits", "workers": 0, "device": "cpu"}
    extract(ExtractOptions(**words, blocks="2,5", limit=IMAGES, out=store))
    usual = {"cache": store, "recipe": "fast", "epochs": 8, "lr": (0.01,), "device": "cpu", "runs": runs}
    usual |= {"report": False}
    run_fit(FitOptions(**usual, probe=("lp", "lp_mean", "ep4", "ep2+cls"), tokens=("pre",), name="first"))
    several = {"block": ("5", "2"), "combine": "concat", "tokens": ("post",)}
    run_fit(FitOptions(**usual, **several, probe=("lp_mean", "ep4"), name="combined"))
    return Digits(store, runs / "first", runs / "combined", _images(store, folder / "images"))


def _images(store: Path, folder: Path) -> Path:
    from cache import Store

    source, split = DigitsSource("test"), Store(store).split("digits", "test")
    for sample in split.whole("sample_id").tolist():
        path = folder / str(source.labels[sample]) / f"{sample:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        source.load(sample).save(path)
    return folder


@pytest.fixture(scope="session")
def classifier(digits: Digits) -> ImageClassifier:
    """Backbone and the head `ep4` of the first run."""
    head = load_head(digits.run, "ep4")
    return ImageClassifier(
        open_same_backbone(head.backbone, "it"), head.probe, HeadDescription.of(head)
    ).eval()

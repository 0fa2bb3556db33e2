"""A store whose images were decoded or resized in another way: its heads see new images in that way, too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from extract.command import extract
from extract.options import ExtractOptions
from probe import FitOptions, run_fit
from probe.deployment import HubClassifier

pytestmark = pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")

RunProbe = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of JPEGs, 30 for training and 10 for evaluation, twelve times as large as is seen."""
    folder = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)
    for split, images in (("train", 30), ("val", 10)):
        for number in range(images):
            path = folder / split / f"class{number % 2}" / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            coarse = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((512, 384), Image.Resampling.BICUBIC).save(path)
    return folder


@pytest.fixture(
    scope="module", params=[{"resize": "torch", "decode_scale": 2.0}, {"decode": "device"}], ids=str
)
def run(request: pytest.FixtureRequest, photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of `lp_mean`; the store beside it is `store`."""
    folder = tmp_path_factory.mktemp("fast")
    words = {"backbone": "mae_digits", "dataset": f"folder:{photographs}", "workers": 0, "device": "cpu"}
    fast: dict[str, Any] = request.param
    extract(ExtractOptions(**words, **fast, dtype="float32", out=folder / "store"))
    run_fit(
        FitOptions(
            cache=folder / "store", probe=("lp_mean",), recipe="fast", epochs=2, device="cpu",
            runs=folder, name="run", report=False,
        )
    )  # fmt: skip
    return folder / "run"


def test_the_store_agrees_with_its_backbone(run: Path, run_probe: RunProbe) -> None:
    code, out, err = run_probe("parity", "--cache", run.parent / "store")
    assert (code, "agrees with mae_digits" in out) == (0, True), err


def test_files_and_the_hub_see_what_the_store_saw(
    run: Path, photographs: Path, run_probe: RunProbe, tmp_path: Path
) -> None:
    images = sorted((photographs / "val").rglob("*.jpg"))
    code, out, err = run_probe("predict", run, *images, "--json")
    assert code == 0, err
    predicted = [json.loads(line)["classes"][0]["probability"] for line in out.splitlines()]
    code, _, err = run_probe("export", run, "--save-pretrained", tmp_path / "saved")
    assert code == 0, err
    model = HubClassifier.from_pretrained(tmp_path / "saved")
    shares = model.classify([Image.open(path) for path in images])
    assert [next(iter(found.values())) for found in shares] == pytest.approx(predicted, abs=1e-6)


def test_a_head_predicts_on_the_pixels_of_its_store(
    run: Path, photographs: Path, run_probe: RunProbe
) -> None:
    code, out, _ = run_probe("predict", run, photographs / "val", "--json")
    assert code == 0
    rows = [json.loads(line) for line in out.splitlines()]
    right = [Path(row["path"]).parent.name == row["classes"][0]["class"] for row in rows]
    (answer,) = json.loads((run / "results.json").read_text())["answers"]
    assert 100 * np.mean(right) == pytest.approx(answer["top1"])

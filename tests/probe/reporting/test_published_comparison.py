"""Answers beside the published table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from configs import names
from configs.published_results import published_row, published_rows
from probe.reporting import read_run, write_report
from probe.reporting.finished_runs import results_of
from probe.reporting.published_comparison import compared

ChangedRun = Callable[..., Path]


@pytest.fixture
def as_published(changed_run: ChangedRun) -> Callable[..., Path]:
    """The plain run, as if it had read ImageNet through a published backbone; `ep4` as EP32."""

    def make(backbone: str, dataset: str = "imagenet") -> Path:
        def edit(results: dict[str, Any]) -> None:
            results["config"]["backbone"]["name"] = backbone
            results["config"]["evaluation"]["name"] = dataset
            for answer in results["answers"]:
                answer["probe"] = answer["probe"].replace("ep4", "ep32")

        return changed_run("plain", edit)

    return make


def test_every_row_is_a_backbone_that_is_shipped() -> None:
    assert {row.backbone for row in published_rows()} <= set(names("backbones"))
    assert len(published_rows()) == 19


def test_a_row_has_the_published_accuracies() -> None:
    row = published_row("mae_vitb", "imagenet")
    assert row is not None
    assert (row.knn, row.lp, row.ep32, row.tokens) == (46.1, 67.7, 75.6, "pre")


@pytest.mark.parametrize(("backbone", "dataset"), [("mae_vitb", "food101"), ("mae_digits", "imagenet")])
def test_nothing_is_published_of_others(backbone: str, dataset: str) -> None:
    assert published_row(backbone, dataset) is None


def test_each_probe_stands_beside_its_column(as_published: Callable[..., Path]) -> None:
    found = [compared(result) for result in results_of([read_run(as_published("dino_vitb"))])]
    columns = [None if own is None else (own.column, own.published) for own in found]
    assert columns == [("LP", 77.3), ("EP32", 77.8), ("k-NN", 76.1), None]


def test_known_differences_are_said(as_published: Callable[..., Path]) -> None:
    found = [compared(result) for result in results_of([read_run(as_published("dino_vitb"))])]
    linear, patches, nearest = (" / ".join(own.differences) for own in found if own is not None)
    assert "best epoch" in linear
    assert "[CLS] and the patches" in patches
    assert "several processes" in nearest
    assert "recipe fast" in linear
    assert "recipe" not in nearest


def test_the_page_shows_the_difference(
    as_published: Callable[..., Path], read_page: Callable[[Path], Any], tmp_path: Path
) -> None:
    run = read_run(as_published("mae_vitb"))
    page = read_page(write_report([run], tmp_path / "out"))
    assert "published" in page.parts
    assert f"{run.answers[0]['best_top1'] - 67.7:+.2f}" in page.text


def test_blocks_before_the_last_and_parts_of_the_images_are_not_compared(changed_run: ChangedRun) -> None:
    def edit(results: dict[str, Any]) -> None:
        results["config"]["backbone"]["name"] = "mae_vitb"
        results["config"]["evaluation"]["name"] = "imagenet"

    blocks = results_of([read_run(changed_run("blocks", edit))])
    assert [compared(result) is not None for result in blocks] == [
        r.answer["blocks"] == [3] and r.probe == "lp" for r in blocks
    ]

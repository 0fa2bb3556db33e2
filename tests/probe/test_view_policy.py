"""Which views of the training images a run reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from configs import UserError
from extract.command import extract
from extract.options import ExtractOptions
from probe.data import open_probe_data
from probe.fit import run_fit
from probe.options import FitOptions, ViewPolicy
from probe.training_data import ImageChoice, TrainingData, open_training_data
from probe.trial_spec import TrainingImages
from probe.view_policy import view_policy

RECORDS, VIEWS = 60, 3


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of sixty digits a split, those of the training split in three views."""
    store = tmp_path_factory.mktemp("several") / "store"
    settings: dict[str, Any] = {"backbone": "mae_digits", "dataset": "digits", "limit": RECORDS, "workers": 0}
    extract(ExtractOptions(**settings, out=store, views=VIEWS, augment="rrc_flip"))
    return store


def opened(store: Path, views: ViewPolicy, held_out: float = 0.0) -> TrainingData:
    data = open_probe_data(FitOptions(cache=store), torch.device("cpu"))
    choice = ImageChoice(TrainingImages(), held_out, 0)
    return open_training_data(data, (5,), {"mean"}, choice, verify=False, views=views)


@pytest.mark.parametrize(("views", "images"), [("plain", RECORDS), ("random", RECORDS), ("all", 3 * RECORDS)])
def test_an_epoch_has_each_image_once_or_in_all_views(several: Path, views: ViewPolicy, images: int) -> None:
    found = opened(several, views)
    assert len(found.train) == images
    assert found.train.draw_views == (views == "random")
    assert len(found.evaluation) == RECORDS


def test_held_out_images_are_read_plain(several: Path) -> None:
    held_out = opened(several, "random", held_out=0.2).held_out
    assert held_out is not None
    assert list(held_out.blocks[0].views) == [0]


def test_views_are_drawn_where_there_are_several(several: Path, options: Callable[..., FitOptions]) -> None:
    chosen = options(cache=several)
    assert view_policy(chosen, open_probe_data(chosen, torch.device("cpu"))) == "random"


def test_the_plain_view_is_read_where_there_is_one(options: Callable[..., FitOptions]) -> None:
    chosen = options()
    assert view_policy(chosen, open_probe_data(chosen, torch.device("cpu"))) == "plain"


@pytest.mark.parametrize("views", ["random", "all"])
def test_views_that_are_not_there_are_refused(options: Callable[..., FitOptions], views: str) -> None:
    with pytest.raises(UserError, match="holds one view of its images"):
        run_fit(options(view_policy=views))


def test_policies_train_differently_and_each_reproducibly(
    several: Path, options: Callable[..., FitOptions]
) -> None:
    losses = {}
    for views in ("plain", "random", "all"):
        for name in ("first", "again"):
            chosen = options(cache=several, view_policy=views, name=f"{views}_{name}")
            run_fit(chosen)
            lines = (chosen.runs / f"{views}_{name}" / "metrics.jsonl").read_text().splitlines()
            losses[views, name] = [json.loads(line)["loss"] for line in lines]
        assert losses[views, "first"] == losses[views, "again"]
    assert len({tuple(found) for found in losses.values()}) == 3

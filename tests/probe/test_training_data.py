"""Which images are trained on, choose, and are measured on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from configs import UserError
from probe import FitOptions
from probe.data import ProbeData, open_probe_data
from probe.training_data import ImageChoice, TrainingData, open_training_data
from probe.trial_spec import TrainingImages

Open = Callable[..., TrainingData]

IMAGES_OF_A_CLASS = 20


@pytest.fixture
def data(options: Callable[..., FitOptions]) -> ProbeData:
    """120 training images of 6 classes."""
    return open_probe_data(options(), torch.device("cpu"))


@pytest.fixture
def opened(data: ProbeData) -> Open:
    """Training data by number of images, held-out share and seed."""

    def make(held_out: float = 0.0, seed: int = 0, **images: Any) -> TrainingData:
        choice = ImageChoice(TrainingImages(**images), held_out, seed)
        return open_training_data(data, (3,), {"mean"}, choice, verify=False)

    return make


def _records(part: Any) -> set[int]:
    return set(part.blocks[0].records.tolist())


def _by_class(part: Any) -> list[int]:
    return np.bincount(part.blocks[0].labels, minlength=6).tolist()


def test_without_a_choice_all_images_are_trained_on_and_none_held_out(opened: Open) -> None:
    found = opened()
    assert len(found.train) == 120
    assert found.held_out is None
    assert len(found.evaluation) == 60


def test_held_out_images_are_apart_from_the_others_and_with_them_are_all(opened: Open) -> None:
    found = opened(held_out=0.1)
    assert found.held_out is not None
    assert not _records(found.train) & _records(found.held_out)
    assert _records(found.train) | _records(found.held_out) == set(range(120))


@pytest.mark.parametrize(("share", "of_a_class"), [(0.1, 2), (0.25, 5), (0.5, 10)])
def test_the_same_share_of_every_class_is_held_out(opened: Open, share: float, of_a_class: int) -> None:
    found = opened(held_out=share)
    assert found.held_out is not None
    assert _by_class(found.held_out) == [of_a_class] * 6
    assert _by_class(found.train) == [IMAGES_OF_A_CLASS - of_a_class] * 6


def test_the_evaluation_split_is_whole_whatever_is_chosen(opened: Open) -> None:
    assert len(opened(held_out=0.5, shots=1).evaluation) == 60


def test_shots_are_counted_in_every_class(opened: Open) -> None:
    assert _by_class(opened(shots=3).train) == [3] * 6


def test_a_class_of_fewer_images_gives_all_that_it_has(opened: Open) -> None:
    assert _by_class(opened(shots=1000).train) == [IMAGES_OF_A_CLASS] * 6


def test_a_fraction_is_of_every_class(opened: Open) -> None:
    assert _by_class(opened(fraction=0.25).train) == [5] * 6


def test_fewer_shots_of_a_draw_are_among_its_more(opened: Open) -> None:
    few, more = (_records(opened(shots=shots, draw=1).train) for shots in (2, 5))
    assert few < more


def test_draws_and_seeds_differ(opened: Open) -> None:
    draws = [{"draw": 0}, {"draw": 1}, {"draw": 0, "seed": 1}]
    found = [frozenset(_records(opened(shots=5, **draw).train)) for draw in draws]
    assert len(set(found)) == 3


def test_shots_are_never_drawn_from_the_held_out_images(opened: Open) -> None:
    found = opened(held_out=0.5, shots=1000)
    assert found.held_out is not None
    assert _by_class(found.train) == [10] * 6
    assert not _records(found.train) & _records(found.held_out)


def test_all_draws_are_measured_on_the_same_held_out_images(opened: Open) -> None:
    parts = [opened(held_out=0.1, shots=2, draw=draw).held_out for draw in range(3)]
    assert len({frozenset(_records(part)) for part in parts}) == 1


def test_all_that_is_read_is_named(opened: Open) -> None:
    assert sorted(len(dataset) for dataset in opened(held_out=0.1).datasets) == [12, 60, 108]


def test_a_split_whose_classes_have_one_image_holds_none_out(
    make_store: Callable[..., Any], tmp_path: Any, options: Callable[..., FitOptions]
) -> None:
    store = make_store(tmp_path / "single", splits={"train": 6, "validation": 6})
    data = open_probe_data(options(cache=store), torch.device("cpu"))
    choice = ImageChoice(TrainingImages(), 0.1, 0)
    with pytest.raises(UserError, match="no class has two images"):
        open_training_data(data, (3,), {"mean"}, choice, verify=False)

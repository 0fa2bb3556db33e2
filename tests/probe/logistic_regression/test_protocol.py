"""Choosing C on a held-out part, fitting again, evaluating once."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from configs import UserError
from probe.logistic_regression import C_GRID, fit_models, logistic_regression
from probe.stratified import held_out

Images = tuple[torch.Tensor, torch.Tensor]
options = {"memory": 2**28, "device": torch.device("cpu")}
run = partial(logistic_regression, seed=3, **options)


@pytest.fixture
def splits(digits: Images) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """400 images to train on, 200 to evaluate."""
    features, labels = digits
    return features[:400], labels[:400], features[400:], labels[400:]


def test_the_grid_is_dinov2s() -> None:
    assert list(C_GRID) == pytest.approx(torch.logspace(-6, 5, 45, dtype=torch.float64).tolist())


def test_every_c_is_tried_without_the_images_held_out(splits: tuple[torch.Tensor, ...]) -> None:
    features, labels = splits[:2]
    cs = [1e-4, 1e-2]
    held = torch.from_numpy(held_out(labels.numpy(), 0.1, seed=3))
    models = fit_models(features[~held], labels[~held], cs, **options)
    expected = models.accuracies(features[held], labels[held], memory=2**28)
    tried = run(*splits, cs=cs).held_out
    assert [(score.c, (score.top1, score.top5)) for score in tried] == list(zip(cs, expected, strict=True))


def test_the_best_c_is_fitted_on_all_of_train_and_evaluated(splits: tuple[torch.Tensor, ...]) -> None:
    result = run(*splits, cs=[1e-6, 1e-2])
    assert result.evaluation.c == 1e-2
    alone = fit_models(splits[0], splits[1], [1e-2], **options)
    assert result.evaluation.loss == float(alone.loss)
    ((top1, top5),) = alone.accuracies(splits[2], splits[3], memory=2**28)
    assert (result.evaluation.top1, result.evaluation.top5) == (top1, top5)


def test_of_equally_good_c_the_smallest_is_taken(splits: tuple[torch.Tensor, ...]) -> None:
    result = run(*splits, cs=[1e3, 1e4, 1e2])
    assert len({score.top1 for score in result.held_out}) == 1
    assert result.evaluation.c == 1e2


def test_one_c_needs_no_held_out_images() -> None:
    features, labels = torch.eye(3), torch.arange(3)
    result = run(features, labels, features, labels, cs=[1e3])
    assert (result.held_out, result.evaluation.top1) == ((), 100.0)


def test_single_images_of_every_class_are_refused() -> None:
    features, labels = torch.eye(3), torch.arange(3)
    with pytest.raises(UserError, match="every class has one image"):
        run(features, labels, features, labels)

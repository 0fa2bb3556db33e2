"""Fitted models, against scikit-learn's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from configs import UserError
from probe.logistic_regression import fit_models

Images = tuple[torch.Tensor, torch.Tensor]
CS = (1e-6, 1e-3, 1.0, 1e5)
fit = partial(fit_models, memory=2**28, device=torch.device("cpu"))


def test_losses_are_scikit_learns_from_small_to_large_c(
    digits: Images, optimal_loss: Callable[[torch.Tensor, torch.Tensor, float], float]
) -> None:
    models = fit(*digits, CS)
    assert models.converged.all()
    expected = [optimal_loss(*digits, c) for c in CS]
    assert models.loss.tolist() == pytest.approx(expected, rel=1e-3)


def test_two_classes_have_scikit_learns_penalty(
    digits: Images, optimal_loss: Callable[[torch.Tensor, torch.Tensor, float], float]
) -> None:
    features, labels = digits
    chosen = (labels == 3) | (labels == 8)
    two = features[chosen], labels[chosen]
    expected = [optimal_loss(*two, c) for c in CS]
    assert fit(*two, CS).loss.tolist() == pytest.approx(expected, rel=1e-3)


def test_weights_are_scikit_learns(digits: Images) -> None:
    features, labels = digits
    models = fit(*digits, [0.01], tolerance=1e-10)
    reference = LogisticRegression(C=0.01, tol=1e-8, max_iter=2000).fit(features.double(), labels)
    bias = models.bias[0] - models.bias[0].mean()
    torch.testing.assert_close(models.weight[0], torch.from_numpy(reference.coef_), atol=1e-4, rtol=0)
    torch.testing.assert_close(bias, torch.from_numpy(reference.intercept_), atol=2e-3, rtol=0)


def test_a_model_is_as_good_alone(digits: Images) -> None:
    together = fit(*digits, CS).loss.tolist()
    assert [float(fit(*digits, [c]).loss) for c in CS] == pytest.approx(together, rel=1e-3)


def test_groups_that_memory_dictates_give_the_same_models(digits: Images) -> None:
    in_groups = fit(*digits, CS, memory=940_000, tolerance=1e-10)
    torch.testing.assert_close(
        in_groups.weight[:3], fit(*digits, CS, tolerance=1e-10).weight[:3], atol=1e-4, rtol=0
    )


def test_float32_comes_as_near(digits: Images) -> None:
    cs = (1e-6, 1e-3, 1.0)
    expected = fit(*digits, cs).loss.tolist()
    assert fit(*digits, cs, dtype=torch.float32).loss.tolist() == pytest.approx(expected, rel=1e-3)


def test_accuracies_are_scikit_learns(digits: Images) -> None:
    features, labels = digits
    models = fit(features[:400], labels[:400], [1e-6, 0.01], tolerance=1e-8)
    found = models.accuracies(features[400:], labels[400:], memory=1)
    for c, (top1, _) in zip((1e-6, 0.01), found, strict=True):
        reference = LogisticRegression(C=c, tol=1e-8, max_iter=2000).fit(
            features[:400].double(), labels[:400]
        )
        assert top1 == pytest.approx(100 * reference.score(features[400:].double(), labels[400:]))


def test_top_5_is_among_five_classes(digits: Images) -> None:
    features, labels = digits
    few = labels < 5
    ((top1, top5),) = fit(features[few], labels[few], [1e-6]).accuracies(
        features[few], labels[few], memory=2**20
    )
    assert top1 < top5 == 100


def test_classes_that_were_not_trained_on_are_never_right(digits: Images) -> None:
    features, labels = digits
    odd = labels % 2 == 1
    models = fit(features[odd], labels[odd], [0.1])
    assert models.classes.tolist() == [1, 3, 5, 7, 9]
    assert models.accuracies(features[odd], labels[odd], memory=2**20) == [(100.0, 100.0)]
    assert models.accuracies(features[~odd], labels[~odd], memory=2**20) == [(0.0, 0.0)]


def test_one_class_is_refused() -> None:
    with pytest.raises(UserError, match="needs images of two classes or more"):
        fit(torch.eye(3), torch.zeros(3, dtype=torch.int64), [1.0])


def test_too_little_memory_is_refused_with_what_is_needed(digits: Images) -> None:
    with pytest.raises(UserError, match=r"within 100.0 KB of memory: 603.2 KB is the least that does$"):
        fit(*digits, [1.0], memory=10**5)

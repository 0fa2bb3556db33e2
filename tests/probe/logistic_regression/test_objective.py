"""The loss for several C, against its formula in a plain loop."""

from __future__ import annotations

import math

import pytest
import torch

from probe.logistic_regression.objective import LogisticObjective

ENOUGH = 2**28
CS = (1e-3, 10.0)


@pytest.fixture(params=[2, 4])
def images(request: pytest.FixtureRequest) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (11, 3), far from 0, and labels of two or of four classes."""
    drawn = torch.Generator().manual_seed(0)
    features = 5 + torch.randn(11, 3, generator=drawn, dtype=torch.float64)
    return features, torch.arange(11) % request.param


def _objective(
    images: tuple[torch.Tensor, torch.Tensor], memory: int = ENOUGH, cs: tuple[float, ...] = CS
) -> LogisticObjective:
    return LogisticObjective(*images, cs, memory=memory, dtype=torch.float64)


def _points(objective: LogisticObjective) -> torch.Tensor:
    classes, columns = objective.shape
    drawn = torch.Generator().manual_seed(1)
    return torch.randn(len(objective.penalties), classes * columns, generator=drawn, dtype=torch.float64)


def _plain_loss(features: torch.Tensor, labels: torch.Tensor, point: torch.Tensor, c: float) -> float:
    classes = int(labels.max()) + 1
    rows = point.view(classes, -1).tolist()
    mean = features.mean(0).tolist()
    total = 0.0
    for image, label in zip(features.tolist(), labels.tolist(), strict=True):
        logits = [
            row[-1] + sum(w * (x - m) for w, x, m in zip(row, image, mean, strict=False)) for row in rows
        ]
        total += math.log(sum(math.exp(logit) for logit in logits)) - logits[label]
    norm = sum(w * w for row in rows for w in row[:-1])
    return (total + (2 if classes == 2 else 1) * norm / (2 * c)) / len(labels)


def test_values_are_what_the_formula_says(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    objective = _objective(images)
    points = _points(objective)
    values, _ = objective(points, torch.arange(2))
    expected = [_plain_loss(*images, point, c) for point, c in zip(points, CS, strict=True)]
    assert values.tolist() == pytest.approx(expected, rel=1e-12)


def test_gradients_are_those_of_the_values(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    objective = _objective(images)
    points = _points(objective)
    _, gradients = objective(points, torch.arange(2))
    for column in range(points.shape[1]):
        step = torch.zeros_like(points)
        step[:, column] = 1e-6
        above, _ = objective(points + step, torch.arange(2))
        below, _ = objective(points - step, torch.arange(2))
        assert ((above - below) / 2e-6).tolist() == pytest.approx(
            gradients[:, column].tolist(), rel=1e-7, abs=1e-8
        )


def test_blocks_of_rows_change_nothing(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    row_by_row, whole = _objective(images, memory=1), _objective(images)
    points = _points(whole)
    torch.testing.assert_close(row_by_row(points, torch.arange(2)), whole(points, torch.arange(2)))


def test_a_subset_of_trials_has_its_own_penalties(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    objective = _objective(images)
    points = _points(objective)
    values, gradients = objective(points, torch.arange(2))
    value, gradient = objective(points[1:], torch.tensor([1]))
    torch.testing.assert_close((value, gradient), (values[1:], gradients[1:]))


def test_the_preconditioner_is_the_inverse_hessian_where_classes_are_equally_probable(
    images: tuple[torch.Tensor, torch.Tensor],
) -> None:
    objective = _objective(images, cs=(0.1,))
    classes, columns = objective.shape
    trials = torch.tensor([0])
    zero = torch.zeros(1, classes * columns, dtype=torch.float64)
    # the same change of all classes is left out: the loss does not see it
    vector = _points(objective).view(classes, columns)
    vector = (vector - vector.mean(0)).view(1, -1)
    _, above = objective(zero + 1e-6 * vector, trials)
    _, below = objective(zero - 1e-6 * vector, trials)
    again = objective.precondition((above - below) / 2e-6, trials, torch.tensor([math.log(classes)]))
    assert again.tolist()[0] == pytest.approx(vector.tolist()[0], abs=1e-6)

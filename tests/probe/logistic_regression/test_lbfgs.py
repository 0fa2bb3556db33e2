"""Many functions minimised side by side."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from probe.logistic_regression.lbfgs import Minima, Objective, minimise


def _nothing_known(vectors: torch.Tensor, trials: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return vectors


def _minimise(objective: Objective, start: torch.Tensor, *, evaluations: int = 1000) -> Minima:
    return minimise(objective, _nothing_known, start, max_evaluations=evaluations, tolerance=1e-12)


def _parabolas(curvatures: torch.Tensor) -> Objective:
    """1 + ½ Σ_j c_kj (x_j − 1)²."""

    def objective(points: torch.Tensor, trials: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gradients = curvatures[trials] * (points - 1)
        return 1 + (gradients * (points - 1)).sum(1) / 2, gradients

    return objective


@pytest.fixture
def curvatures() -> torch.Tensor:
    """Of three functions of five numbers, from easy to hard."""
    return torch.stack([torch.logspace(0, power, 5, dtype=torch.float64) for power in (0, 3, 6)])


def test_each_function_reaches_its_minimum(curvatures: torch.Tensor) -> None:
    found = _minimise(_parabolas(curvatures), torch.zeros(3, 5, dtype=torch.float64))
    assert found.converged.all()
    torch.testing.assert_close(found.values, torch.ones(3, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(found.points, torch.ones(3, 5, dtype=torch.float64), atol=1e-4, rtol=0)


def test_a_function_goes_the_same_way_alone(curvatures: torch.Tensor) -> None:
    start = torch.zeros(3, 5, dtype=torch.float64)
    together = _minimise(_parabolas(curvatures), start)
    for number in range(3):
        alone = _minimise(_parabolas(curvatures[number : number + 1]), start[:1])
        assert alone.iterations.tolist() == together.iterations[number : number + 1].tolist()
        assert alone.points[0].tolist() == together.points[number].tolist()


def test_a_function_that_has_converged_is_not_evaluated_again(curvatures: torch.Tensor) -> None:
    asked: list[list[int]] = []

    def counted(points: torch.Tensor, trials: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        asked.append(trials.tolist())
        return _parabolas(curvatures)(points, trials)

    found = _minimise(counted, torch.zeros(3, 5, dtype=torch.float64))
    assert asked[-1] == [int(found.iterations.argmax())]
    assert all(set(after) <= set(before) for before, after in pairwise(asked))


def test_steps_out_of_the_function_s_domain_are_shortened() -> None:
    def barrier(points: torch.Tensor, trials: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """x − 0.001 log x, NaN below 0; its minimum is at 0.001."""
        return (points - 0.001 * points.log()).sum(1), 1 - 0.001 / points

    found = _minimise(barrier, torch.tensor([[0.5], [1e-6]], dtype=torch.float64))
    torch.testing.assert_close(found.points, torch.full_like(found.points, 0.001), atol=1e-6, rtol=0)


def test_evaluations_that_do_not_suffice_are_said(curvatures: torch.Tensor) -> None:
    found = _minimise(_parabolas(curvatures), torch.zeros(3, 5, dtype=torch.float64), evaluations=13)
    assert found.converged.tolist() == [True, False, False]

"""L-BFGS on many smooth convex functions side by side, each with its own history and line search.

One evaluation serves one point of every function that has not ended. Where the point is accepted the function
takes a new direction, elsewhere its step is shortened. None waits for another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

Objective = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""Points (A, P) of the functions numbered (A,) → values (A,) and gradients (A, P)."""

Preconditioner = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Vectors (A, P), numbers of the functions (A,) and their values now (A,) → each vector times a positive
definite matrix, about the inverse Hessian there."""

HISTORY = 10
SUFFICIENT_DECREASE = 1e-4
SHORTENINGS_AT_MOST = 20
"""Where a step shortened so often in a row lowers nothing, the precision is used up."""

VECTORS_OF_EACH = 2 * HISTORY + 12
"""Vectors (P,) in memory at a time for each function."""


@dataclass(frozen=True)
class Minima:
    """Where each function ended."""

    points: torch.Tensor  # (K, P)
    values: torch.Tensor  # (K,)
    iterations: torch.Tensor  # (K,) int64: accepted steps
    converged: torch.Tensor  # (K,) bool; of the others, the evaluations were used up


def minimise(
    objective: Objective,
    precondition: Preconditioner,
    start: torch.Tensor,
    *,
    max_evaluations: int,
    tolerance: float,
) -> Minima:
    """Minimise K functions from `start` (K, P).

    A function has converged when its last `HISTORY` steps together lowered the value by no more than the
    share `tolerance`, or when no step lowers it at this precision.
    """
    search = _Search(objective, precondition, start, tolerance)
    for _ in range(max_evaluations - 1):
        active = (~search.converged).nonzero().squeeze(1)
        if not len(active):
            break
        search.advance(active)
    return Minima(search.points, search.values, search.iterations, search.converged)


class _Search:
    """Where K searches are. A pair (move, change) of the history without positive curvature has weight 0."""

    def __init__(
        self, objective: Objective, precondition: Preconditioner, start: torch.Tensor, tolerance: float
    ) -> None:
        trials, parameters = start.shape
        every = torch.arange(trials, device=start.device)
        self.objective, self.precondition, self.tolerance = objective, precondition, tolerance
        self.points = start.clone()
        self.values, self.gradients = objective(start, every)
        self.directions = -precondition(self.gradients, every, self.values)
        self.steps, self.scales = torch.ones_like(self.values), torch.ones_like(self.values)
        self.shortenings, self.iterations = torch.zeros_like(every), torch.zeros_like(every)
        self.converged = torch.zeros_like(every, dtype=torch.bool)
        self.moves = start.new_zeros(HISTORY, trials, parameters)
        self.changes = torch.zeros_like(self.moves)
        self.weights = start.new_zeros(HISTORY, trials)
        self.past_values = start.new_full((HISTORY, trials), torch.inf)

    def advance(self, active: torch.Tensor) -> None:
        """Evaluate the next point of every active function."""
        points = self.points[active] + self.steps[active].unsqueeze(1) * self.directions[active]
        values, gradients = self.objective(points, active)
        slopes = self.steps[active] * _dot(self.gradients[active], self.directions[active])
        lower = values <= self.values[active] + SUFFICIENT_DECREASE * slopes  # not where it is NaN
        self._accept(active[lower], points[lower], values[lower], gradients[lower])
        self._shorten(active[~lower], values[~lower], slopes[~lower])

    def _accept(
        self, trials: torch.Tensor, points: torch.Tensor, values: torch.Tensor, gradients: torch.Tensor
    ) -> None:
        slots = self.iterations[trials] % HISTORY
        self._remember(slots, trials, points - self.points[trials], gradients - self.gradients[trials])
        before = self.past_values[slots, trials]
        self.converged[trials] = before - values <= self.tolerance * values.abs()
        self.past_values[slots, trials] = values
        self.points[trials], self.values[trials], self.gradients[trials] = points, values, gradients
        self.iterations[trials] += 1
        self.steps[trials], self.shortenings[trials] = 1.0, 0
        self.directions[trials] = -self._newton_step(gradients, trials)

    def _remember(
        self, slots: torch.Tensor, trials: torch.Tensor, moves: torch.Tensor, changes: torch.Tensor
    ) -> None:
        curvatures = _dot(moves, changes)
        curved = curvatures > torch.finfo(moves.dtype).eps * _dot(changes, changes)
        self.moves[slots, trials], self.changes[slots, trials] = moves, changes
        self.weights[slots, trials] = torch.where(curved, 1 / curvatures, 0.0)
        scales = curvatures / _dot(changes, self.precondition(changes, trials, self.values[trials]))
        self.scales[trials] = torch.where(curved, scales, self.scales[trials])

    def _newton_step(self, gradients: torch.Tensor, trials: torch.Tensor) -> torch.Tensor:
        """The two loops over the history (Nocedal and Wright, algorithm 7.4)."""
        slots = [(self.iterations[trials] - 1 - age) % HISTORY for age in range(HISTORY)]
        step, shares = gradients, []
        for slot in slots:
            share = self.weights[slot, trials] * _dot(self.moves[slot, trials], step)
            step = step - share.unsqueeze(1) * self.changes[slot, trials]
            shares.append(share)
        step = self.scales[trials].unsqueeze(1) * self.precondition(step, trials, self.values[trials])
        for slot, share in zip(reversed(slots), reversed(shares), strict=True):
            back = self.weights[slot, trials] * _dot(self.changes[slot, trials], step)
            step = step + (share - back).unsqueeze(1) * self.moves[slot, trials]
        return step

    def _shorten(self, trials: torch.Tensor, values: torch.Tensor, slopes: torch.Tensor) -> None:
        """To the minimum of the parabola through what is known, between a tenth and a half of the step."""
        share = -slopes / (2 * (values - self.values[trials] - slopes))
        self.steps[trials] *= share.nan_to_num(0.1).clamp(0.1, 0.5)
        self.shortenings[trials] += 1
        self.converged[trials] = self.shortenings[trials] > SHORTENINGS_AT_MOST


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a * b).sum(dim=1)

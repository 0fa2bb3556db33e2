"""Logistic regressions on one set of features, of all C at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from configs import UserError, in_bytes
from probe.label_place import first_classes, label_place
from probe.logistic_regression.lbfgs import VECTORS_OF_EACH, Minima, minimise
from probe.logistic_regression.objective import LogisticObjective

EVALUATIONS_AT_MOST = 1000
"""DINOv2's number of iterations."""

NOWHERE = 2**31
"""The place of a class that was not trained on."""

TOLERANCE = 1e-4
"""Of the loss, which is about as near to the optimum's (see `minimise`)."""


@dataclass(frozen=True)
class LogisticModels:
    """One model for each of K values of C. `classes` (c,) are the labels that were trained on, ascending."""

    classes: torch.Tensor
    weight: torch.Tensor  # (K, c, D)
    bias: torch.Tensor  # (K, c)
    loss: torch.Tensor  # (K,): the objective at the end
    iterations: torch.Tensor  # (K,)
    converged: torch.Tensor  # (K,) bool

    def accuracies(
        self, features: torch.Tensor, labels: torch.Tensor, *, memory: int
    ) -> list[tuple[float, float]]:
        """Top-1 and top-5 in percent of each model, on features (m, D) and labels (m,).

        Of classes with equal logits the one with the lower number comes first. A label that was not trained
        on is never right. Logits take `memory` bytes at most.
        """
        hits = torch.zeros(len(self.weight), 2, dtype=torch.int64)
        for own, logits in zip(labels.split(self._rows(memory)), self._logits(features, memory), strict=True):
            own = own.to(self.classes)
            number = torch.searchsorted(self.classes, own).clamp(max=len(self.classes) - 1)
            place = label_place(logits, number).masked_fill(self.classes[number] != own, NOWHERE)
            hits += torch.stack([(place < limit).sum(1) for limit in (1, 5)], dim=1).cpu()
        return [(top1, top5) for top1, top5 in (100 * hits.double() / len(labels)).tolist()]

    def first_classes(self, features: torch.Tensor, *, memory: int) -> torch.Tensor:
        """Of each model the first classes of each image, (K, m, 5) int64 on the CPU; or all, if fewer."""
        count = min(5, len(self.classes))
        found = [
            self.classes[first_classes(logits, count)].cpu() for logits in self._logits(features, memory)
        ]
        return torch.cat(found, dim=1)

    def _logits(self, features: torch.Tensor, memory: int) -> Iterator[torch.Tensor]:
        """(K, b, c) of some images after others."""
        for part in features.split(self._rows(memory)):
            yield part.to(self.weight) @ self.weight.mT + self.bias.unsqueeze(1)

    def _rows(self, memory: int) -> int:
        trials, classes, dim = self.weight.shape
        return max(1, memory // (self.weight.itemsize * (3 * trials * classes + 2 * dim)))


def fit_models(
    features: torch.Tensor,
    labels: torch.Tensor,
    cs: Sequence[float],
    *,
    memory: int,
    device: torch.device,
    dtype: torch.dtype = torch.float64,
    tolerance: float = TOLERANCE,
) -> LogisticModels:
    """Minimise `LogisticObjective` on features (n, D) and labels (n,) for each of `cs`, from weights of 0.

    The search and the logits share `memory` bytes; features as given, moved to `device`, are not counted.
    Where not all C fit together, they are taken in the fewest groups. Raises `UserError` where not one fits,
    or there is only one class.
    """
    classes, numbers = labels.to(device).unique(return_inverse=True)
    if len(classes) < 2:
        raise UserError("logistic regression needs images of two classes or more")
    objective = LogisticObjective(features.to(device), numbers, cs, memory=memory // 2, dtype=dtype)
    size = _trials_together(objective.shape, memory, dtype.itemsize)
    found = [
        _minima(objective, first, min(size, len(cs) - first), tolerance) for first in range(0, len(cs), size)
    ]
    points = torch.cat([minima.points for minima in found]).view(-1, *objective.shape)
    weight = points[..., :-1]
    return LogisticModels(
        classes=classes,
        weight=weight,
        bias=points[..., -1] - weight @ objective.mean,
        loss=torch.cat([minima.values for minima in found]),
        iterations=torch.cat([minima.iterations for minima in found]),
        converged=torch.cat([minima.converged for minima in found]),
    )


def _trials_together(shape: tuple[int, int], memory: int, itemsize: int) -> int:
    classes, columns = shape
    fixed, for_trial = 4 * columns**2 * itemsize, VECTORS_OF_EACH * classes * columns * itemsize
    trials = (memory // 2 - fixed) // for_trial
    if trials < 1:
        raise UserError(
            f"logistic regression within {in_bytes(memory)} of memory: "
            f"{in_bytes(2 * (fixed + for_trial))} is the least that does"
        )
    return trials


def _minima(objective: LogisticObjective, first: int, count: int, tolerance: float) -> Minima:
    """Of the `count` values of C from the `first` on."""
    classes, columns = objective.shape
    return minimise(
        lambda points, trials: objective(points, first + trials),
        lambda vectors, trials, values: objective.precondition(vectors, first + trials, values),
        objective.mean.new_zeros(count, classes * columns),
        max_evaluations=EVALUATIONS_AT_MOST,
        tolerance=tolerance,
    )

"""Logistic regression as DINOv2 evaluates features (facebookresearch/dinov2, dinov2/eval/log_regression.py).

Features are taken as they are: neither standardised nor divided by their length. C is the one of 45 values
from 1e-6 to 1e5 whose model has the best top-1 on a tenth of the training images, fitted on the others. With
that C the model is fitted again, on all training images, and evaluated once.

Of equally good C the smallest is taken, as there. The held-out tenth is stratified here; there it is any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from configs import UserError
from probe.logistic_regression.models import LogisticModels, fit_models
from probe.stratified import held_out

C_GRID = tuple(10 ** (-6 + 11 * step / 44) for step in range(45))

HELD_OUT_SHARE = 0.1


@dataclass(frozen=True)
class LogisticScore:
    """Accuracies in percent of a model at one C, and how its fit ended."""

    c: float
    top1: float
    top5: float
    loss: float
    """The objective at the end (see `LogisticObjective`)."""
    iterations: int
    converged: bool


@dataclass(frozen=True)
class LogisticResult:
    """The final model on the evaluation images, and every C on the held-out ones; none if one C was given."""

    evaluation: LogisticScore
    held_out: tuple[LogisticScore, ...]


def logistic_regression(
    train: torch.Tensor,
    train_labels: torch.Tensor,
    evaluation: torch.Tensor,
    evaluation_labels: torch.Tensor,
    *,
    cs: Sequence[float] = C_GRID,
    seed: int,
    memory: int,
    device: torch.device,
    dtype: torch.dtype = torch.float64,
) -> LogisticResult:
    """Choose C on held-out training images, fit on all of them, evaluate.

    Features are (n, D) and (m, D), floats; labels (n,) and (m,) int64, not negative. `seed` draws the
    held-out images, `memory` is in bytes. DINOv2 computes in float64, too. Raises `UserError` where no image
    can be held out, the memory is too small, or there is only one class.
    """
    ascending = sorted(set(cs))
    chosen = ascending[0]
    tried: tuple[LogisticScore, ...] = ()
    if len(ascending) > 1:
        tried = _tried(train, train_labels, ascending, seed=seed, memory=memory, device=device, dtype=dtype)
        chosen = max(tried, key=lambda score: score.top1).c  # the first of the best
    final = fit_models(train, train_labels, [chosen], memory=memory, device=device, dtype=dtype)
    (score,) = _scores(final, [chosen], evaluation, evaluation_labels, memory)
    return LogisticResult(score, tried)


def _tried(
    features: torch.Tensor,
    labels: torch.Tensor,
    cs: Sequence[float],
    *,
    seed: int,
    memory: int,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[LogisticScore, ...]:
    held = torch.from_numpy(held_out(labels.numpy(force=True), HELD_OUT_SHARE, seed)).to(labels.device)
    if not held.any():
        raise UserError("every class has one image: none can be held out to choose C, so give one C")
    kept = held.logical_not()
    models = fit_models(features[kept], labels[kept], cs, memory=memory, device=device, dtype=dtype)
    return _scores(models, cs, features[held], labels[held], memory)


def _scores(
    models: LogisticModels, cs: Sequence[float], features: torch.Tensor, labels: torch.Tensor, memory: int
) -> tuple[LogisticScore, ...]:
    accuracies = models.accuracies(features, labels, memory=memory)
    return tuple(
        LogisticScore(c, top1, top5, loss, iterations, converged)
        for c, (top1, top5), loss, iterations, converged in zip(
            cs,
            accuracies,
            models.loss.tolist(),
            models.iterations.tolist(),
            models.converged.tolist(),
            strict=True,
        )
    )

"""Classifiers that are computed, not trained in steps: k-NN and logistic regression on one vector an image.

Each setting (k and T, or C) is compared on the held-out images; the final classifier learns from these too,
unless a part of the images was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from configs import UserError
from probe.features import Features
from probe.logistic_regression import C_GRID, fit_models
from probe.neighbours import knn_scores

Accuracies = Mapping[str, tuple[float, float]]
"""setting → top-1 and top-5 in percent."""


@dataclass(frozen=True)
class Workplace:
    """Where to compute, and in how many bytes."""

    device: torch.device
    memory: int


class Classifier(Protocol):
    """A family of settings, compared on the same images."""

    def compared(self, train: Features, measured: Features, place: Workplace) -> Accuracies:
        """Of every setting."""

    def of_setting(self, setting: str, train: Features, measured: Features, place: Workplace) -> Accuracies:
        """Of one setting, and of others where they cost nothing more."""


@dataclass(frozen=True)
class NearestNeighbours:
    """k and T of `probe.neighbours.knn`. A k beyond the training images is left out."""

    ks: Sequence[int]
    temperatures: Sequence[float]

    def compared(self, train: Features, measured: Features, place: Workplace) -> Accuracies:
        ks = [k for k in self.ks if k <= len(train)]
        if not ks:
            raise UserError(f"--neighbours: all are more than the {len(train):,} training images")
        scores = knn_scores(
            train.values,
            train.labels,
            measured.values,
            measured.labels,
            ks=ks,
            temperatures=self.temperatures,
            memory=place.memory,
            device=place.device,
        )
        return {f"k={s.k},T={s.temperature:g}": (s.top1, s.top5) for s in scores}

    def of_setting(self, setting: str, train: Features, measured: Features, place: Workplace) -> Accuracies:
        return self.compared(train, measured, place)


@dataclass(frozen=True)
class LogisticRegression:
    """C of `probe.logistic_regression`, over DINOv2's grid."""

    cs: Sequence[float] = C_GRID

    def compared(self, train: Features, measured: Features, place: Workplace) -> Accuracies:
        return self._accuracies(self.cs, train, measured, place)

    def of_setting(self, setting: str, train: Features, measured: Features, place: Workplace) -> Accuracies:
        chosen = [c for c in self.cs if _c(c) == setting]
        return self._accuracies(chosen, train, measured, place)

    def _accuracies(
        self, cs: Sequence[float], train: Features, measured: Features, place: Workplace
    ) -> Accuracies:
        models = fit_models(train.values, train.labels, cs, memory=place.memory, device=place.device)
        found = models.accuracies(measured.values, measured.labels, memory=place.memory)
        return dict(zip(map(_c, cs), found, strict=True))


def _c(c: float) -> str:
    return f"C={c:.3g}"

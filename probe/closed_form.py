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
from probe.logistic_regression import C_GRID, LogisticModels, fit_models
from probe.neighbours import KnnScore, knn_scores

Accuracies = Mapping[str, tuple[float, float]]
"""setting → top-1 and top-5 in percent."""


@dataclass(frozen=True)
class Workplace:
    """Where to compute, and in how many bytes."""

    device: torch.device
    memory: int


@dataclass(frozen=True)
class Measured:
    """Accuracies, and the chosen setting's first classes of every image, (m, 5) int64; −1 for none."""

    accuracies: Accuracies
    classes: torch.Tensor


class Classifier(Protocol):
    """A family of settings, compared on the same images."""

    def compared(self, train: Features, measured: Features, place: Workplace) -> Accuracies:
        """Of every setting."""

    def of_setting(self, setting: str, train: Features, measured: Features, place: Workplace) -> Measured:
        """Of one setting, with the accuracies of others where they cost nothing more."""


@dataclass(frozen=True)
class NearestNeighbours:
    """k and T of `probe.neighbours.knn`. A k beyond the training images is left out."""

    ks: Sequence[int]
    temperatures: Sequence[float]

    def compared(self, train: Features, measured: Features, place: Workplace) -> Accuracies:
        return {_k_and_t(s.k, s.temperature): (s.top1, s.top5) for s in self._scores(train, measured, place)}

    def of_setting(self, setting: str, train: Features, measured: Features, place: Workplace) -> Measured:
        chosen = {_k_and_t(k, t): (k, t) for k in self.ks for t in self.temperatures}[setting]
        scores = self._scores(train, measured, place, chosen)
        (classes,) = (score.classes for score in scores if score.classes is not None)
        return Measured({_k_and_t(s.k, s.temperature): (s.top1, s.top5) for s in scores}, classes)

    def _scores(
        self, train: Features, measured: Features, place: Workplace, chosen: tuple[int, float] | None = None
    ) -> list[KnnScore]:
        ks = [k for k in self.ks if k <= len(train)]
        if not ks:
            raise UserError(f"--neighbours: all are more than the {len(train):,} training images")
        return knn_scores(
            train.values,
            train.labels,
            measured.values,
            measured.labels,
            ks=ks,
            temperatures=self.temperatures,
            memory=place.memory,
            device=place.device,
            predicted=chosen,
        )


def _k_and_t(k: int, temperature: float) -> str:
    return f"k={k},T={temperature:g}"


@dataclass(frozen=True)
class LogisticRegression:
    """C of `probe.logistic_regression`, over DINOv2's grid."""

    cs: Sequence[float] = C_GRID

    def compared(self, train: Features, measured: Features, place: Workplace) -> Accuracies:
        models = _models(self.cs, train, place)
        found = models.accuracies(measured.values, measured.labels, memory=place.memory)
        return dict(zip(map(_c, self.cs), found, strict=True))

    def of_setting(self, setting: str, train: Features, measured: Features, place: Workplace) -> Measured:
        models = _models([c for c in self.cs if _c(c) == setting], train, place)
        (found,) = models.accuracies(measured.values, measured.labels, memory=place.memory)
        (classes,) = models.first_classes(measured.values, memory=place.memory)
        return Measured({setting: found}, classes)


def _models(cs: Sequence[float], train: Features, place: Workplace) -> LogisticModels:
    return fit_models(train.values, train.labels, cs, memory=place.memory, device=place.device)


def _c(c: float) -> str:
    return f"C={c:.3g}"

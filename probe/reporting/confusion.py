"""Per-class accuracy and confusions, counted from the predictions that a run kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probe.reporting.finished_runs import Result

MATRIX_AT_MOST = 30
"""Classes of which a whole confusion matrix can be read."""


@dataclass(frozen=True)
class Confusion:
    """`count` images of class `label` were taken for `predicted`, over all repeats together."""

    label: int
    predicted: int
    count: int


@dataclass(frozen=True)
class ClassCounts:
    """One answer's evaluation images by class. With several seeds or draws an image counts once for each."""

    result: Result
    label: np.ndarray  # (n · repeats,)
    predicted: np.ndarray  # (n · repeats,): the first class; −1 for none

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.result.run.classes)

    def images(self) -> np.ndarray:
        """(C,) images of each class."""
        return np.bincount(self.label, minlength=self.num_classes)

    def accuracies(self) -> np.ndarray:
        """(C,) top-1 of each class in percent; NaN for a class without an image."""
        right = np.bincount(self.label[self.label == self.predicted], minlength=self.num_classes)
        images = self.images()
        with np.errstate(invalid="ignore"):
            return np.asarray(100 * right / images)

    def matrix(self) -> np.ndarray:
        """(C, C) images of the row's class that were taken for the column's."""
        counts = np.zeros((self.num_classes, self.num_classes), dtype=np.int64)
        seen = self.predicted >= 0
        np.add.at(counts, (self.label[seen], self.predicted[seen]), 1)
        return counts

    def confusions(self, most: int) -> list[Confusion]:
        """The pairs of classes that are mistaken most often, the most frequent first."""
        wrong = (self.label != self.predicted) & (self.predicted >= 0)
        pairs = self.label[wrong].astype(np.int64) * self.num_classes + self.predicted[wrong]
        found, counts = np.unique(pairs, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:most]
        return [
            Confusion(int(pair // self.num_classes), int(pair % self.num_classes), int(count))
            for pair, count in zip(found[order], counts[order], strict=True)
        ]


def class_counts(result: Result) -> ClassCounts | None:
    """None where the run kept no predictions."""
    kept = result.run.predictions
    if kept is None or not kept.answers[result.number]:
        return None
    first = [classes[:, 0] for classes in kept.answers[result.number]]
    return ClassCounts(result, np.tile(kept.label, len(first)), np.concatenate(first))

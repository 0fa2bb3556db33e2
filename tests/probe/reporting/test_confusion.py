"""Counting by class."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from probe.reporting.confusion import ClassCounts, Confusion, class_counts
from probe.reporting.finished_runs import Result, read_run, results_of


@pytest.mark.parametrize("kind", ["plain", "sweep", "blocks", "shots", "closed"])
def test_predictions_have_the_accuracies_of_the_results(run_of: Callable[[str], Path], kind: str) -> None:
    run = read_run(run_of(kind))
    assert run.predictions is not None
    for answer, trials in zip(run.answers, run.predictions.answers, strict=True):
        assert len(trials) == answer["repeats"]
        right = [100 * np.mean(classes[:, 0] == run.predictions.label) for classes in trials]
        within = [
            100 * np.mean((classes == run.predictions.label[:, None]).any(axis=1)) for classes in trials
        ]
        assert np.mean(right) == pytest.approx(answer["top1"], abs=1e-9)
        assert np.mean(within) == pytest.approx(answer["top5"], abs=1e-9)


def test_class_accuracies_weighted_by_images_are_the_answer(run_of: Callable[[str], Path]) -> None:
    for result in results_of([read_run(run_of("plain"))]):
        counts = class_counts(result)
        assert counts is not None
        mean = np.average(counts.accuracies(), weights=counts.images())
        assert mean == pytest.approx(result.top1)
        assert counts.matrix().sum() == len(counts.label)


def test_the_most_frequent_confusions_come_first(run_of: Callable[[str], Path]) -> None:
    result = Result(read_run(run_of("one")), 0)
    label = np.array([0, 0, 0, 1, 1, 2, 3])
    predicted = np.array([1, 1, 2, 1, 0, 2, -1])
    counts = ClassCounts(result, label, predicted)
    assert counts.confusions(2) == [Confusion(0, 1, 2), Confusion(0, 2, 1)]
    assert counts.accuracies()[:4].tolist() == [0, 50, 100, 0]
    assert np.isnan(counts.accuracies()[5])


def test_samples_are_named_by_their_place_in_the_source(run_of: Callable[[str], Path]) -> None:
    folder = run_of("plain")
    run = read_run(folder)
    assert run.predictions is not None
    samples = json.loads((folder / "results.json").read_text())["config"]["evaluation"]["samples"]
    assert run.predictions.sample_id.tolist() == list(range(samples))
    assert run.predictions.label.dtype == run.predictions.answers[0][0].dtype == np.int16

"""The part of the page about single classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from probe.reporting.class_pictures import draw_classes, draw_confusions
from probe.reporting.confusion import MATRIX_AT_MOST, ClassCounts, class_counts
from probe.reporting.finished_runs import FinishedRun, best_of_each_probe, result_names, results_of
from probe.reporting.section import Section, Table, numbered, of_run
from probe.reporting.style import Picture

PROBES_BY_CLASS = 6
"""Probes whose accuracies stand class by class."""

EXTREMES = 10
"""Worst and best classes that a table names."""

CONFUSIONS = 15


def classes_section(runs: Sequence[FinishedRun], folder: Path) -> Section | None:
    """Accuracy by class and confusions, of each run's best answers."""
    pictures: list[Picture] = []
    tables: list[Table] = []
    notes: list[str] = []
    for number, run in enumerate(runs):
        best = best_of_each_probe(results_of([run]))
        counts = [own for own in map(class_counts, best[:PROBES_BY_CLASS]) if own is not None]
        if not counts:
            notes.append(f"{run.name} kept no predictions: it is older than predictions.safetensors.")
            continue
        drawn = [draw_classes(counts, folder, numbered("classes", number, runs))]
        if counts[0].num_classes <= MATRIX_AT_MOST:
            drawn.append(draw_confusions(counts, folder, numbered("confusions", number, runs)))
        pictures += [of_run(picture, run, runs) for picture in drawn]
        tables += _class_tables(counts, f"{run.name}: " if len(runs) > 1 else "")
        if len(best) > len(counts):
            notes.append(
                f"{run.name}: the best {len(counts)} of {len(best)} probes are shown class by class."
            )
    text = (
        "Of each probe the answer with the highest top-1. predictions.safetensors in the run's folder "
        "holds the first five classes of every image, for every answer."
    )
    return Section("classes", "Class by class", (text,), tuple(pictures), tuple(tables), tuple(notes))


def _class_tables(counts: Sequence[ClassCounts], prefix: str) -> list[Table]:
    best, classes = counts[0], counts[0].result.run.classes
    names = result_names([own.result for own in counts])
    accuracies = np.stack([own.accuracies() for own in counts])
    trials = max(1, len(best.result.run.predictions.answers[best.result.number]))  # type: ignore[union-attr]
    images = best.images() // trials
    held = [c for c in range(len(classes)) if images[c]]
    if len(classes) > MATRIX_AT_MOST:
        ordered = sorted(held, key=lambda c: accuracies[0, c])
        shown = list(dict.fromkeys([*ordered[:EXTREMES], *ordered[-EXTREMES:]]))
        title = f"{prefix}the {EXTREMES} worst and {EXTREMES} best classes of {names[0]}, top-1 in percent"
    else:
        shown, title = held, f"{prefix}top-1 of each class in percent"
    rows = tuple(
        (classes[c], f"{images[c]:,}", *(f"{value:.1f}" for value in accuracies[:, c])) for c in shown
    )
    tables = [Table(title, ("class", "images", *names), rows)]
    total = best.images()
    confusions = tuple(
        (classes[c.label], classes[c.predicted], f"{c.count:,}", f"{100 * c.count / total[c.label]:.1f}")
        for c in best.confusions(CONFUSIONS)
    )
    if confusions:
        counted = "images" if trials == 1 else f"images, of {trials} trials"
        columns = ("class", "taken for", counted, "% of the class")
        tables.append(Table(f"{prefix}the most frequent confusions of {names[0]}", columns, confusions, 2))
    return tables

"""The parts of a report, each made from the runs it is about, or absent where they have nothing to show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from probe.report import percent
from probe.reporting import words
from probe.reporting.class_pictures import draw_classes, draw_confusions
from probe.reporting.confusion import MATRIX_AT_MOST, ClassCounts, class_counts
from probe.reporting.cost_picture import draw_costs
from probe.reporting.curves import Line, block_lines, draw_blocks, draw_images, image_lines
from probe.reporting.finished_runs import (
    FinishedRun,
    Result,
    best_of_each_probe,
    comparable,
    result_names,
    results_of,
    varied_fields,
)
from probe.reporting.learning_curves import draw_learning_curves
from probe.reporting.published_comparison import Comparison, compared
from probe.reporting.style import Picture
from probe.reporting.sweep_map import draw_sweeps, sweeps

PROBES_BY_CLASS = 6
"""Probes whose accuracies stand class by class."""

EXTREMES = 10
"""Worst and best classes that a table names."""

CONFUSIONS = 15


@dataclass(frozen=True)
class Table:
    """Cells as they are shown. Columns from `numbers` on hold numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: int = 1


@dataclass(frozen=True)
class Section:
    """One part of the page."""

    name: str
    """What it is about, in a word."""
    title: str
    words: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = field(default=())
    """A list below the rest."""


def sections(runs: Sequence[FinishedRun], folder: Path) -> list[Section]:
    """Every part that the runs have something for; pictures are written into `folder`."""
    results = results_of(runs)
    found = [
        answers_section(results),
        published_section(results),
        cost_section(results, folder),
        learning_section(runs, folder),
        sweep_section(runs, folder),
        blocks_section(results, folder),
        images_section(results, folder),
        classes_section(runs, folder),
        *(part(run, len(runs)) for run in runs for part in (protocol_section, store_section)),
    ]
    return [section for section in found if section is not None]


def answers_section(results: Sequence[Result]) -> Section:
    """One table for each set of evaluation images, best first."""
    tables = []
    for group in comparable(results):
        fields = varied_fields(group)
        rows = sorted(group, key=lambda result: -result.top1)
        tables.append(
            Table(
                f"accuracy on {group[0].run.evaluation} in percent",
                ("probe", *fields, "parameters", "GFLOPs", "held-out", "top-1", "top-5", "best"),
                tuple((row.probe, *(row.field(name) for name in fields), *_numbers(row)) for row in rows),
                1 + len(fields),
            )
        )
    text = (
        "top-1 and top-5: on the evaluation images after the last epoch. held-out: on training images "
        "that were kept apart to choose settings. best: the highest epoch and setting on the "
        "evaluation images themselves, as papers report; optimistic. ±: standard deviation over seeds "
        "and draws."
    )
    return Section("answers", "Answers", (text,), tables=tuple(tables), notes=_retrieval(results))


def _numbers(result: Result) -> tuple[str, ...]:
    answer, cost = result.answer, result.cost
    return (
        *(("", "") if cost is None else (f"{cost[0]:,}", f"{cost[1]:.3g}")),
        percent(answer["held_out_top1"]),
        percent(result.top1, result.deviation),
        percent(answer["top5"]),
        percent(answer["best_top1"], answer["best_top1_deviation"]),
    )


def _retrieval(results: Sequence[Result]) -> tuple[str, ...]:
    return tuple(
        f"{name}, evaluation images among the training images: "
        + ", ".join(f"{key} {value:.2f}" for key, value in result.answer["retrieval"].items())
        for name, result in zip(result_names(results), results, strict=True)
        if result.answer["retrieval"]
    )


def published_section(results: Sequence[Result]) -> Section | None:
    """Answers beside the published table's."""
    pairs = zip(result_names(results), map(compared, results), strict=True)
    found = [(name, comparison) for name, comparison in pairs if comparison is not None]
    if not found:
        return None
    rows = tuple(_published_row(name, comparison) for name, comparison in found)
    by_text: dict[str, dict[str, None]] = {}
    for _, comparison in found:
        for difference in comparison.differences:
            by_text.setdefault(difference, {})[comparison.column] = None
    notes = tuple(f"{', '.join(columns)}: {difference}" for difference, columns in by_text.items())
    text = (
        "Published: efficient probing, arXiv 2506.10178, top-1 on ImageNet-1k's validation images. The "
        "difference is “best” less the published accuracy, which is a best epoch too. What is known to "
        "differ between the two protocols stands below."
    )
    columns = ("probe", "backbone", "published as", "top-1", "best", "published", "difference")
    return Section(
        "published",
        "Beside the published table",
        (text,),
        tables=(Table("top-1 on imagenet in percent", columns, rows, 3),),
        notes=notes,
    )


def _published_row(name: str, comparison: Comparison) -> tuple[str, ...]:
    row, best = comparison.row, comparison.result.answer["best_top1"]
    return (
        name,
        f"{row.method} {row.architecture}, {row.pretraining}",
        comparison.column,
        percent(comparison.result.top1),
        percent(best),
        f"{comparison.published:.1f}",
        f"{best - comparison.published:+.2f}",
    )


def cost_section(results: Sequence[Result], folder: Path) -> Section | None:
    """Accuracy against parameters and GFLOPs, a picture for each set of evaluation images."""
    groups = comparable(results)
    drawn = [draw_costs(group, folder, _numbered("costs", i, groups)) for i, group in enumerate(groups)]
    pictures = tuple(picture for picture in drawn if picture is not None)
    return Section("costs", "Accuracy and cost", pictures=pictures) if pictures else None


def _numbered(name: str, number: int, of: Sequence[object]) -> str:
    return f"{name}-{number + 1}" if len(of) > 1 else name


def learning_section(runs: Sequence[FinishedRun], folder: Path) -> Section | None:
    """A picture for each run that trained."""
    drawn = [
        (run, draw_learning_curves(run, folder, _numbered("learning", i, runs))) for i, run in enumerate(runs)
    ]
    pictures = tuple(_of_run(picture, run, runs) for run, picture in drawn if picture is not None)
    return Section("learning", "Learning curves", pictures=pictures) if pictures else None


def _of_run(picture: Picture, run: FinishedRun, runs: Sequence[FinishedRun]) -> Picture:
    caption = f"{run.name}: {picture.caption}" if len(runs) > 1 else picture.caption
    return Picture(picture.name, picture.svg, caption)


def sweep_section(runs: Sequence[FinishedRun], folder: Path) -> Section | None:
    """A picture for each run that chose among settings."""
    pictures = []
    for number, run in enumerate(runs):
        if found := sweeps(run):
            picture = draw_sweeps(found, folder, _numbered("sweep", number, runs))
            pictures.append(_of_run(picture, run, runs))
    return Section("sweep", "What was chosen among", pictures=tuple(pictures)) if pictures else None


def blocks_section(results: Sequence[Result], folder: Path) -> Section | None:
    """Accuracy against the block, where several were probed alone."""
    groups = [lines for group in comparable(results) if (lines := block_lines(group))]
    pictures = [draw_blocks(lines, folder, _numbered("layers", i, groups)) for i, lines in enumerate(groups)]
    tables = [_line_table(lines, "block") for lines in groups]
    return _curve_section("layers", "Block by block", pictures, tables)


def images_section(results: Sequence[Result], folder: Path) -> Section | None:
    """Accuracy against the number of training images, where there are several."""
    pictures, tables = [], []
    for title, axis in (("shots", "images of each class"), ("fraction", "share of the images")):
        groups = [lines for group in comparable(results) if (lines := image_lines(group, title))]
        names = [_numbered(f"low-{title}", i, groups) for i in range(len(groups))]
        pictures += [draw_images(own, title, folder, n) for own, n in zip(groups, names, strict=True)]
        tables += [_line_table(lines, axis) for lines in groups]
    return _curve_section("images", "Few training images", pictures, tables)


def _curve_section(
    name: str, title: str, pictures: Sequence[Picture], tables: Sequence[Table]
) -> Section | None:
    return Section(name, title, pictures=tuple(pictures), tables=tuple(tables)) if pictures else None


def _line_table(lines: Sequence[Line], axis: str) -> Table:
    places = sorted({place for line in lines for place in line.places})
    rows = []
    for line in lines:
        by_place = dict(zip(line.places, line.results, strict=True))
        cells = [percent(by_place[p].top1, by_place[p].deviation) if p in by_place else "" for p in places]
        rows.append((line.name, *cells))
    evaluation = lines[0].results[0].run.evaluation
    title = f"top-1 on {evaluation} in percent, by {axis}"
    return Table(title, ("probe", *(f"{place:g}" for place in places)), tuple(rows))


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
        drawn = [draw_classes(counts, folder, _numbered("classes", number, runs))]
        if counts[0].num_classes <= MATRIX_AT_MOST:
            drawn.append(draw_confusions(counts, folder, _numbered("confusions", number, runs)))
        pictures += [_of_run(picture, run, runs) for picture in drawn]
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
    images = best.images() // max(1, len(best.result.run.predictions.answers[best.result.number]))  # type: ignore[union-attr]
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
        columns = ("class", "taken for", "images", "% of the class")
        tables.append(Table(f"{prefix}the most frequent confusions of {names[0]}", columns, confusions, 2))
    return tables


def protocol_section(run: FinishedRun, runs: int) -> Section:
    """How a run trained and chose."""
    title = "Protocol" if runs == 1 else f"Protocol of {run.name}"
    return Section("protocol", title, notes=(*words.protocol(run), *words.selection(run)))


def store_section(run: FinishedRun, runs: int) -> Section:
    """The store that a run read."""
    title = "The store" if runs == 1 else f"The store of {run.name}"
    table = Table("Whose tokens were read", ("", ""), tuple(words.identity(run)), 2)
    return Section("store", title, tables=(table,))

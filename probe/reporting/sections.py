"""The parts of a report, each made from the runs it is about, or absent where they have nothing to show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from probe.report import percent
from probe.reporting import words
from probe.reporting.class_section import classes_section
from probe.reporting.cost_picture import draw_costs
from probe.reporting.curves import Line, block_lines, draw_blocks, draw_images, image_lines
from probe.reporting.finished_runs import (
    FinishedRun,
    Result,
    comparable,
    result_names,
    results_of,
    varied_fields,
)
from probe.reporting.learning_curves import draw_learning_curves
from probe.reporting.published_comparison import Comparison, compared
from probe.reporting.section import Section, Table, numbered, of_run
from probe.reporting.style import Picture
from probe.reporting.sweep_map import draw_sweeps, sweeps

HELD_OUT = "held-out"
"""The column of accuracies on held-out training images."""


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
    tables = tuple(map(_answer_table, comparable(results)))
    words = ["top-1 and top-5: on the evaluation images after the last epoch."]
    if any(HELD_OUT in table.columns for table in tables):
        words.append(f"{HELD_OUT}: on training images that were kept apart to choose settings.")
    words.append(
        "best: the highest epoch and setting on the evaluation images themselves, as papers report; "
        "optimistic. ±: standard deviation over seeds and draws."
    )
    return Section("answers", "Answers", (" ".join(words),), tables=tables, notes=_retrieval(results))


def _answer_table(group: Sequence[Result]) -> Table:
    """Without the columns that no answer has something for."""
    fields = varied_fields(group)
    rows = [
        {"probe": result.probe, **{name: result.field(name) for name in fields}, **_numbers(result)}
        for result in sorted(group, key=lambda result: -result.top1)
    ]
    columns = tuple(name for name in rows[0] if any(row[name] for row in rows))
    return Table(
        f"accuracy on {group[0].run.evaluation} in percent",
        columns,
        tuple(tuple(row[name] for name in columns) for row in rows),
        1 + len(fields),
    )


def _numbers(result: Result) -> dict[str, str]:
    """Column → what stands there."""
    answer, cost = result.answer, result.cost
    parameters, gflops = ("", "") if cost is None else (f"{cost[0]:,}", f"{cost[1]:.3g}")
    return {
        "parameters": parameters,
        "GFLOPs": gflops,
        HELD_OUT: percent(answer["held_out_top1"]),
        "top-1": percent(result.top1, result.deviation),
        "top-5": percent(answer["top5"]),
        "best": percent(answer["best_top1"], answer["best_top1_deviation"]),
    }


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
    drawn = [draw_costs(group, folder, numbered("costs", i, groups)) for i, group in enumerate(groups)]
    pictures = tuple(picture for picture in drawn if picture is not None)
    return Section("costs", "Accuracy and cost", pictures=pictures) if pictures else None


def learning_section(runs: Sequence[FinishedRun], folder: Path) -> Section | None:
    """A picture for each run that trained."""
    drawn = [
        (run, draw_learning_curves(run, folder, numbered("learning", i, runs))) for i, run in enumerate(runs)
    ]
    pictures = tuple(of_run(picture, run, runs) for run, picture in drawn if picture is not None)
    return Section("learning", "Learning curves", pictures=pictures) if pictures else None


def sweep_section(runs: Sequence[FinishedRun], folder: Path) -> Section | None:
    """A picture for each run that chose among settings."""
    pictures = []
    for number, run in enumerate(runs):
        if found := sweeps(run):
            picture = draw_sweeps(found, folder, numbered("sweep", number, runs))
            pictures.append(of_run(picture, run, runs))
    return Section("sweep", "What was chosen among", pictures=tuple(pictures)) if pictures else None


def blocks_section(results: Sequence[Result], folder: Path) -> Section | None:
    """Accuracy against the block, where several were probed alone."""
    groups = [lines for group in comparable(results) if (lines := block_lines(group))]
    pictures = [draw_blocks(lines, folder, numbered("layers", i, groups)) for i, lines in enumerate(groups)]
    tables = [_line_table(lines, "block") for lines in groups]
    return _curve_section("layers", "Block by block", pictures, tables)


def images_section(results: Sequence[Result], folder: Path) -> Section | None:
    """Accuracy against the number of training images, where there are several."""
    pictures, tables = [], []
    for title, axis in (("shots", "images of each class"), ("fraction", "share of the images")):
        groups = [lines for group in comparable(results) if (lines := image_lines(group, title))]
        names = [numbered(f"low-{title}", i, groups) for i in range(len(groups))]
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


def protocol_section(run: FinishedRun, runs: int) -> Section:
    """How a run trained and chose."""
    title = "Protocol" if runs == 1 else f"Protocol of {run.name}"
    return Section("protocol", title, notes=(*words.protocol(run), *words.selection(run)))


def store_section(run: FinishedRun, runs: int) -> Section:
    """The store that a run read."""
    title = "The store" if runs == 1 else f"The store of {run.name}"
    table = Table("Whose tokens were read", ("", ""), tuple(words.identity(run)), 2)
    return Section("store", title, tables=(table,))

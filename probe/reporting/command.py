"""`probe report`: the answers of runs in one table, and a page with pictures of them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import Field
from rich.console import Console
from rich.table import Table

from configs import FrozenModel, Json, UserError, optional
from probe.report import percent
from probe.reporting import read_run, write_report
from probe.reporting.finished_runs import Result, comparable, results_of, varied_fields
from probe.run_folder import PAGE, RESULTS

PIPED_WIDTH = 200
"""Columns that a table may take where no terminal limits it."""


class ReportOptions(FrozenModel):
    """Show the answers of runs in one table, best first, and write a page with pictures of them.

    Runs on other evaluation images have a table of their own.

    The page, `report.html`, needs no other file and no network; each picture is also there as PNG and SVG.

    Examples:
      probe report runs/digits
      probe report runs/*
      probe report runs/* --out talk
    """

    runs: tyro.conf.Positional[tuple[Path, ...]] = Field(description="folders of finished runs")
    out: Annotated[Path | None, optional("FOLDER")] = Field(
        default=None,
        description="where the page goes; without it, into the run's own folder, or of several runs into "
        "`report` beside them",
    )
    json_: Json = False


def report_runs(options: ReportOptions) -> None:
    """Print the table and write the page. Raises `UserError` where a folder holds no finished run."""
    folders = [run for run in {run.resolve(): run for run in options.runs}.values() if not _holds_report(run)]
    if not folders:
        raise UserError("name the folders of one finished run or more")
    runs = [read_run(folder) for folder in _finished(folders)]
    results = results_of(runs)
    page = write_report(runs, options.out or _default(folders), instead="give another --out")
    if options.json_:
        rows = [
            {"run": result.run.name, "evaluation": result.run.evaluation, **result.answer}
            for result in results
        ]
        rows.sort(key=lambda row: -row["top1"])
        print(json.dumps({"report": str(page), "answers": rows}, indent=1))
        return
    terminal = Console()
    console = terminal if terminal.is_terminal else Console(width=PIPED_WIDTH)
    for group in comparable(results):
        console.print(_table(group))
    print(f"report: {page}")


def _holds_report(folder: Path) -> bool:
    """Whether it is where an earlier page of several runs went: `runs/*` names it too."""
    return (folder / PAGE).exists() and not (folder / RESULTS).exists()


def _finished(folders: Sequence[Path]) -> Sequence[Path]:
    """Where some folders hold results, without those that hold none: `runs/*` names stopped runs, too."""
    unfinished = [folder for folder in folders if folder.is_dir() and not (folder / RESULTS).exists()]
    if len(unfinished) == len(folders):
        return folders
    for folder in unfinished:
        print(f"left out: {folder} holds no finished run ({RESULTS} is missing)", file=sys.stderr)
    return [folder for folder in folders if folder not in unfinished]


def _default(folders: Sequence[Path]) -> Path:
    return folders[0] if len(folders) == 1 else _beside(folders)


def _beside(folders: Sequence[Path]) -> Path:
    """`report` in the nearest folder that holds all of several runs."""
    common = Path(os.path.commonpath([folder.absolute().parent for folder in folders]))
    here = Path.cwd()
    return (common.relative_to(here) if common.is_relative_to(here) else common) / "report"


def _table(results: Sequence[Result]) -> Table:
    """Of answers on the same evaluation images."""
    fields = [name for name in varied_fields(results) if name != "run"]
    held_out = any(result.answer["held_out_top1"] is not None for result in results)
    split = results[0].run.evaluation
    title = f"top-1 on {split}, last epoch"
    table = Table(
        title=title,
        min_width=len(title),  # it would be broken in a narrow table
        caption=f"best: highest epoch and setting on {split} itself, as papers report; optimistic",
    )
    for name in ("run", "probe", *fields):
        table.add_column(name, overflow="fold", min_width=len(name))
    for name in (*(["held-out"] if held_out else []), "top-1", "best"):
        table.add_column(name, justify="right", no_wrap=True)
    for result in sorted(results, key=lambda result: -result.top1):
        answer = result.answer
        table.add_row(
            *(result.run.name, result.probe, *map(result.field, fields)),
            *([percent(answer["held_out_top1"])] if held_out else []),
            percent(result.top1, result.deviation),
            percent(answer["best_top1"], answer["best_top1_deviation"]),
        )
    return table

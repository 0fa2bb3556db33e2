"""`probe report`: the answers of runs in one table, and a page with pictures of them."""

from __future__ import annotations

import json
import os
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
from probe.reporting.finished_runs import Result, results_of, varied_fields
from probe.run_folder import PAGE, RESULTS


class ReportOptions(FrozenModel):
    """Show the answers of runs in one table, best first, and write a page with pictures of them.

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
    runs = [read_run(folder) for folder in folders]
    if not runs:
        raise UserError("name the folders of one finished run or more")
    results = results_of(runs)
    page = write_report(runs, options.out or _default(folders))
    if options.json_:
        rows = [{"run": result.run.folder.name, **result.answer} for result in results]
        rows.sort(key=lambda row: -row["top1"])
        print(json.dumps({"report": str(page), "answers": rows}, indent=1))
        return
    Console().print(_table(results))
    print(f"report: {page}")


def _holds_report(folder: Path) -> bool:
    """Whether it is where an earlier page of several runs went: `runs/*` names it too."""
    return (folder / PAGE).exists() and not (folder / RESULTS).exists()


def _default(folders: Sequence[Path]) -> Path:
    return folders[0] if len(folders) == 1 else _beside(folders)


def _beside(folders: Sequence[Path]) -> Path:
    """`report` in the nearest folder that holds all of several runs."""
    common = Path(os.path.commonpath([folder.absolute().parent for folder in folders]))
    here = Path.cwd()
    return (common.relative_to(here) if common.is_relative_to(here) else common) / "report"


def _table(results: Sequence[Result]) -> Table:
    fields = [name for name in varied_fields(results) if name != "run"]
    table = Table(title="top-1 on the evaluation split, last epoch")
    for name in ("run", "probe", *fields):
        table.add_column(name, overflow="fold")
    for name in ("held-out", "top-1", "best"):
        table.add_column(name, justify="right", no_wrap=True)
    for result in sorted(results, key=lambda result: -result.top1):
        answer = result.answer
        table.add_row(
            *(result.run.name, result.probe, *map(result.field, fields)),
            percent(answer["held_out_top1"]),
            percent(result.top1, result.deviation),
            percent(answer["best_top1"], answer["best_top1_deviation"]),
        )
    return table

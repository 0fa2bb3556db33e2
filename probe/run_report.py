"""`probe report`: the answers of several runs in one table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tyro
from pydantic import Field
from rich.console import Console
from rich.table import Table

from configs import FrozenModel, UserError
from probe.run_folder import RESULTS


class ReportOptions(FrozenModel):
    """Show the answers of several runs in one table, best first.

    Examples:
      probe report runs/*
    """

    runs: tyro.conf.Positional[tuple[Path, ...]] = Field(description="folders of finished runs")


def report_runs(options: ReportOptions) -> None:
    """Print the table. Raises `UserError` where a folder holds no finished run."""
    if not options.runs:
        raise UserError("name the folders of one run or more")
    rows = [row for run in options.runs for row in _rows(run)]
    columns = [name for name in COLUMNS if len({str(row.get(name)) for row in rows}) > 1]
    table = Table(title="top-1 on the evaluation split, last epoch")
    for name in ("run", "probe", *columns):
        table.add_column(name, overflow="fold")
    for name in ("held-out", "top-1", "best"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in sorted(rows, key=lambda row: -row["top1"]):
        numbers = [
            _percent(row["held_out_top1"], None),
            _percent(row["top1"], row["top1_deviation"]),
            _percent(row["best_top1"], row["best_top1_deviation"]),
        ]
        table.add_row(row["run"], row["probe"], *(_shown(row.get(name)) for name in columns), *numbers)
    Console().print(table)


COLUMNS = ("store", "recipe", "blocks", "tokens", "shots", "fraction", "setting")


def _rows(run: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads((run / RESULTS).read_text())
    except OSError:
        raise UserError(f"{run} holds no finished run ({RESULTS} is missing)") from None
    config = found["config"]
    common = {
        "run": run.name,
        "store": Path(config["options"]["cache"]).name,
        "recipe": config["options"]["recipe"],
    }
    return [common | answer for answer in found["answers"]]


def _percent(value: float | None, deviation: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if deviation is None else f"{value:.2f} ± {deviation:.2f}"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(map(str, value))
    return "" if value is None else str(value)

"""What a run prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from probe.run_folder import TrialSummary
from probe.training import EpochResult


def print_epoch(result: EpochResult, epochs: int) -> None:
    """One line for one trial's epoch."""
    print(
        f"epoch {result.epoch:>3}/{epochs}  {result.probe:<10} loss {result.loss:8.4f}  "
        f"top-1 {result.top1:6.2f}  top-5 {result.top5:6.2f}  "
        f"{result.images_per_second:>9,.0f} images/s",
        flush=True,
    )


def print_table(summaries: Sequence[TrialSummary], split: str, folder: Path) -> None:
    """The closing table."""
    table = Table(
        title=f"top-1 on {split}",
        caption=f"best: the epoch that scored highest on {split} itself, as papers report; "
        "last is the honest one",
    )
    table.add_column("probe")
    for column in ("parameters", "last epoch", "best epoch", "(at)", "seconds"):
        table.add_column(column, justify="right")
    for row in summaries:
        table.add_row(
            row.probe,
            f"{row.parameters:,}",
            f"{row.top1_last:.2f}",
            f"{row.top1_best:.2f}",
            str(row.best_epoch),
            f"{row.seconds:.1f}",
        )
    Console().print(table)
    print(f"results: {folder}")

"""Pictures and a page of finished runs.

`finished_runs` reads them back; `sections` makes each part of the page, with a file for each kind of picture
(`style` is common to all); `page` writes `report.html`.
"""

from collections.abc import Sequence
from pathlib import Path

from probe.reporting.finished_runs import FinishedRun, read_run

__all__ = ["FinishedRun", "read_run", "write_report"]


def write_report(runs: Sequence[FinishedRun], folder: Path, instead: str = "name another folder") -> Path:
    """See `page.write_report`. It draws with Matplotlib, which is slow to import: only when it runs."""
    from probe.reporting.page import write_report as write

    return write(runs, folder, instead)

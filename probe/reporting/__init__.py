"""Pictures and a page of finished runs.

`finished_runs` reads them back; `sections` makes each part of the page, with a file for each kind of picture
(`style` is common to all); `page` writes `report.html`.
"""

from probe.reporting.finished_runs import FinishedRun, read_run
from probe.reporting.page import PAGE, write_report

__all__ = ["PAGE", "FinishedRun", "read_run", "write_report"]

"""`report.html`: one file that needs no other, and no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from cache.atomic import write_bytes
from configs import UserError
from probe.reporting.finished_runs import FinishedRun
from probe.reporting.sections import sections
from probe.reporting.style import styled
from probe.run_folder import PAGE


def write_report(runs: Sequence[FinishedRun], folder: Path, instead: str) -> Path:
    """Write the page and its pictures, PNG and SVG, into `folder`; the page's path.

    Raises `UserError` where the folder cannot be written; it says what to do `instead`.
    """
    names = [run.name for run in runs]
    title = f"Run {names[0]}" if len(names) == 1 else f"{len(names)} runs: {', '.join(names)}"
    # class names and paths are other people's text: every value is escaped
    environment = Environment(
        loader=PackageLoader("probe.reporting"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with styled():
            parts = sections(runs, folder)
        page = environment.get_template("report.html.jinja").render(title=title, sections=parts)
        write_bytes(folder / PAGE, page.encode())
    except OSError as error:
        raise UserError(f"cannot write the report into {folder} ({error.strerror}): {instead}") from None
    return folder / PAGE

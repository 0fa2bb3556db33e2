"""What a benchmark says: options, facts of the machine, table, JSON."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import tyro
from chart import draw
from measure import Row, Section
from pydantic import Field
from rich.console import Console
from rich.table import Table
from workload import QUICK, Workload

from configs import FrozenModel, UserError, optional

INSTALL = "pip install -e .[bench]"

LIBRARIES = (
    "frozen-tokens",
    "numpy",
    "torch",
    "zarr",
    "zarrs",
    "h5py",
    "tensorstore",
    "safetensors",
    "webdataset",
    "google-crc32c",
)

CONSOLE = Console(width=None if Console().is_terminal else 100)

COLOURS = {"ours": "bold green", "ceiling": "dim", "other": ""}

JsonFile = Annotated[
    Path | None,
    tyro.conf.arg(name="json"),
    optional("FILE"),
    Field(description="save every number and the facts of the machine; not by default"),
]
"""`--json` of every benchmark; the field is called `json_`, since pydantic has a method of that name."""


class ResultOptions(FrozenModel):
    """What every benchmark can be told of its results."""

    quick: bool = Field(default=False, description="tiny sizes, to see that it runs; no real figures")
    json_: JsonFile = None
    chart: Annotated[Path | None, optional("FILE.svg|png")] = Field(
        default=None, description="draw a bar chart; not by default"
    )


class BenchOptions(ResultOptions):
    """What every benchmark of the store can be told."""

    folder: Path = Field(description="where everything is written; made and removed, it must not exist")

    @property
    def workload(self) -> Workload:
        """The sizes that are measured."""
        return QUICK if self.quick else Workload()


def refuse_what_cannot_be_saved(options: ResultOptions) -> None:
    """Raise `UserError` now rather than after the run."""
    for path in (options.json_, options.chart):
        if path is not None and not path.resolve().parent.is_dir():
            raise UserError(f"{path.parent} is no folder: make it first")
    if options.chart is not None and options.chart.suffix not in (".svg", ".png"):
        raise UserError(f"--chart {options.chart}: name a .svg or a .png")


def machine_facts() -> dict[str, Any]:
    """What the figures were taken on."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in LIBRARIES},
        "load_average_before": os.getloadavg()[0],
        "date": time.strftime("%Y-%m-%d"),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()


def save(path: Path, **content: Any) -> None:
    """Write one run as JSON."""
    path.write_text(json.dumps(content, indent=1, default=asdict) + "\n")


def keep(options: ResultOptions, sections: Sequence[Section], **content: Any) -> None:
    """Save and draw one run where that was asked for."""
    if options.json_ is not None:
        save(options.json_, quick=options.quick, sections=sections, **content)
    if options.chart is not None:
        draw(sections, options.chart)


def print_facts(facts: dict[str, Any], workload: Workload) -> None:
    """Machine and sizes."""
    CONSOLE.print(
        f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_bytes'] / 1e9:.0f} GB; "
        f"load average before: {facts['load_average_before']:.1f}\n"
        f"{workload.records:,} records of {workload.tokens} × {workload.dim} float16, "
        f"{workload.record_bytes / 1e3:.0f} KB each, {workload.bytes / 1e6:,.0f} MB in all\n"
        f"shards of {workload.shard:,}, batches of {workload.batch}; {workload.rounds} rounds, "
        "each contender in turn"
    )


COLUMNS_NOTE = (
    "× ceiling: speed as a share of {ceiling}, ratio of the medians; fastest: of the fastest rounds; "
    "spread: least and most within a round"
)


def print_section(section: Section) -> None:
    """A table, fastest first, at most 100 columns wide."""
    table = Table(
        title=section.title,
        title_justify="left",
        caption="\n".join(filter(None, (section.note, COLUMNS_NOTE.format(ceiling=section.ceiling)))),
        caption_justify="left",
    )
    table.add_column("contender", no_wrap=True)
    for column in ("images/s", "MB/s", "× ceiling", "fastest", "spread"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in section.rows:
        table.add_row(*_cells(row), style=COLOURS[row.role])
    CONSOLE.print(table)
    for label in section.not_installed:
        CONSOLE.print(f"  {label}: not installed ({INSTALL})", markup=False)


def _cells(row: Row) -> Sequence[str]:
    return (
        row.label + (" (ceiling)" if row.role == "ceiling" else ""),
        f"{row.images_per_second:,.0f}",
        f"{row.images_per_second * row.image_bytes / 1e6:,.0f}",
        f"{row.ceiling_share:.3f}",
        f"{row.fastest_share:.3f}",
        f"{row.ceiling_share_low:.3f}–{row.ceiling_share_high:.3f}",
    )

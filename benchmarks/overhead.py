"""What `TokenLoader` costs a batch beyond copying it, for tokens of several widths.

Records of one token: so few bytes that what is timed is the loader's own work, which is to choose records,
make a batch of them and hand it from thread to thread. The time of one call that copies the same batch from
memory is subtracted.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle
from pathlib import Path

import numpy as np
from measure import Contender, take_turns
from own_store import ENGINES, write_store
from readers import own_epoch
from report import CONSOLE
from rich.table import Table
from warm_reads import drained
from workload import Workload

from cache.read_ahead import AHEAD

DIMS = (192, 384, 768, 1024, 4096)
MEMORY = "memcpy"


@dataclass(frozen=True)
class Overhead:
    """Microseconds a batch: medians through the loader, copied, and their difference.

    `fastest` is the difference of the fastest rounds, which others on the machine disturb least.
    """

    engine: str
    dim: int
    record_bytes: int
    loader: float
    memcpy: float
    overhead: float
    fastest: float


def overheads(folder: Path, workload: Workload) -> list[Overhead]:
    """Both engines, host tier, page cache warm; more records and rounds, as they are small."""
    narrow = replace(
        workload,
        records=4 * workload.records,
        shard=4 * workload.shard,
        tokens=1,
        rounds=3 * workload.rounds,
    )
    return [row for dim in DIMS for row in _of_width(folder / str(dim), replace(narrow, dim=dim))]


def _of_width(folder: Path, workload: Workload) -> list[Overhead]:
    contenders = [Contender(MEMORY, _taking(workload), workload.record_bytes)]
    for engine in ENGINES:
        write_store(folder / engine, workload, engine)
        epoch = own_epoch(folder / engine, workload, "host")
        drained(epoch)
        contenders.append(Contender(engine, partial(drained, epoch), workload.record_bytes))
    seconds = take_turns(contenders, workload.rounds, f"overhead, D = {workload.dim}")
    microseconds = 1e6 * workload.batch
    median = {label: microseconds * statistics.median(found) for label, found in seconds.items()}
    least = {label: microseconds * min(found) for label, found in seconds.items()}
    return [
        Overhead(
            engine,
            workload.dim,
            workload.record_bytes,
            loader=median[engine],
            memcpy=median[MEMORY],
            overhead=median[engine] - median[MEMORY],
            fastest=least[engine] - least[MEMORY],
        )
        for engine in ENGINES
    ]


def _taking(workload: Workload) -> Callable[[], int]:
    """Each batch in one call, into as many buffers in turn as `TokenLoader` fills."""
    patches, buffers = workload.patches, [np.zeros_like(workload.empty_batch()) for _ in range(AHEAD + 2)]

    def epoch() -> int:
        for records, out in zip(workload.order, cycle(buffers), strict=False):
            np.take(patches, records, axis=0, out=out, mode="clip")  # other modes copy twice
        return workload.records

    return epoch


def print_overheads(rows: Sequence[Overhead], batch: int) -> None:
    """A table, one line for each width and engine."""
    table = Table(
        title=f"TokenLoader's own overhead, µs for a batch of {batch} records of one token",
        title_justify="left",
    )
    for column in ("D", "bytes a record", "engine"):
        table.add_column(column, justify="left" if column == "engine" else "right")
    for column in ("TokenLoader", "memcpy", "overhead", "fastest rounds"):
        table.add_column(column, justify="right")
    for row in rows:
        times = (f"{value:,.0f}" for value in (row.loader, row.memcpy, row.overhead, row.fastest))
        table.add_row(f"{row.dim:,}", f"{row.record_bytes:,}", row.engine, *times)
    CONSOLE.print(table)

"""What `TokenLoader` costs a batch beyond copying it, for tokens of several widths."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from measure import Contender, take_turns
from own_store import write_store
from readers import OWN_ENGINES, own_epoch
from report import CONSOLE
from rich.table import Table
from warm_reads import drained
from workload import Workload

DIMS = (96, 384, 1024, 4096)
FEW_TOKENS = 4
"""N: so few that copying does not hide what else is done."""
MEMORY = "memcpy"


@dataclass(frozen=True)
class Overhead:
    """Median microseconds a batch: through the loader, copied, and their difference."""

    engine: str
    dim: int
    record_bytes: int
    loader: float
    memcpy: float
    overhead: float


def overheads(folder: Path, workload: Workload) -> list[Overhead]:
    """Both engines, host tier, page cache warm; twice the records and rounds, as they are small."""
    few = replace(
        workload,
        records=2 * workload.records,
        shard=2 * workload.shard,
        tokens=FEW_TOKENS,
        rounds=2 * workload.rounds,
    )
    return [row for dim in DIMS for row in _of_width(folder / str(dim), replace(few, dim=dim))]


def _of_width(folder: Path, workload: Workload) -> list[Overhead]:
    contenders = [Contender(MEMORY, _taking(workload), workload.record_bytes)]
    for engine, store_format in OWN_ENGINES.items():
        write_store(folder / engine, workload, store_format)
        epoch = own_epoch(folder / engine, workload, "host")
        drained(epoch)
        contenders.append(Contender(engine, lambda epoch=epoch: drained(epoch), workload.record_bytes))
    seconds = take_turns(contenders, workload.rounds, f"overhead, D = {workload.dim}")
    taken = {label: 1e6 * workload.batch * statistics.median(found) for label, found in seconds.items()}
    return [
        Overhead(
            engine,
            workload.dim,
            workload.record_bytes,
            loader=taken[engine],
            memcpy=taken[MEMORY],
            overhead=taken[engine] - taken[MEMORY],
        )
        for engine in OWN_ENGINES
    ]


def _taking(workload: Workload) -> Callable[[], int]:
    """Each batch in one call: a loop over records would cost more than copying them."""
    patches, out = workload.patches, np.zeros_like(workload.empty_batch())

    def epoch() -> int:
        for records in workload.order:
            np.take(patches, records, axis=0, out=out, mode="clip")  # other modes copy twice
        return workload.records

    return epoch


def print_overheads(rows: Sequence[Overhead], batch: int) -> None:
    """A table, one line for each width and engine."""
    table = Table(title=f"Microseconds for a batch of {batch}, N = {FEW_TOKENS}", title_justify="left")
    for column in ("D", "bytes a record", "engine"):
        table.add_column(column, justify="left" if column == "engine" else "right")
    for column in ("TokenLoader", "memcpy", "overhead"):
        table.add_column(column, justify="right")
    for row in rows:
        times = (f"{value:,.0f}" for value in (row.loader, row.memcpy, row.overhead))
        table.add_row(f"{row.dim:,}", f"{row.record_bytes:,}", row.engine, *times)
    CONSOLE.print(table)

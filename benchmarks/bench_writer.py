"""Writing a store, against plain `write` calls and what a user would pick instead.

    python benchmarks/bench_writer.py [--json FILE] [--chart FILE.svg] [--quick] [--folder DIR]

The same 617 MB from one process: records of ViT-S/16, 196 × 384 float16, in four shards. All flush to the
disk and start from an empty folder; ours also takes the CRC-32C of every record. The contenders take turns
and are compared within a round, so the shares carry over to other machines; MB/s do not. The memory that ours
takes beyond the records is measured in processes of their own, and not timed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from files import empty, empty_and_settle, scratch
from measure import Contender, Section, measure
from peak_memory import peak_of_writing
from pydantic import Field
from report import (
    CONSOLE,
    BenchOptions,
    keep,
    machine_facts,
    print_facts,
    print_section,
    refuse_what_cannot_be_saved,
)
from workload import QUICK, Workload
from writers import WRITERS, Writer

from configs import parse, run_command

PROGRAM = "bench_writer.py"


class WriterBenchOptions(BenchOptions):
    """Writing a store, against plain `write` calls, NumPy, h5py, Zarr, TensorStore and others.

    Example: python benchmarks/bench_writer.py --json writer.json --chart writer.svg
    """

    folder: Path = Field(
        default=Path("bench_writer.tmp"), description="where to write; made and removed, it must not exist"
    )


def writing(folder: Path, workload: Workload) -> Section:
    """Every writer in turn, into a folder that is emptied before."""

    def contender(writer: Writer) -> Contender:
        def run() -> int:
            writer.write(folder, workload)
            return workload.records

        return Contender(
            writer.label,
            run,
            workload.record_bytes,
            writer.role,
            prepare=lambda: empty_and_settle(folder),
        )

    installed = [writer for writer in WRITERS.values() if writer.installed]
    for writer in installed:  # imports its library
        empty(folder)
        writer.write(folder, QUICK)
    return measure(
        "writing",
        "Writing, flushed to the disk",
        [contender(writer) for writer in installed],
        rounds=workload.rounds,
        not_installed=[writer.label for writer in WRITERS.values() if not writer.installed],
    )


def peaks(folder: Path, workload: Workload) -> dict[str, int]:
    """Bytes of memory that each of ours takes beyond the records it is given, at most."""
    ours = {store: writer.label for store, writer in WRITERS.items() if writer.role == "ours"}
    return {label: peak_of_writing(store, folder, workload) for store, label in ours.items()}


def print_peaks(peak_bytes: dict[str, int], workload: Workload) -> None:
    """One line for each writer."""
    shard = workload.shard * workload.record_bytes
    for label, peak in peak_bytes.items():
        CONSOLE.print(
            f"memory beyond the records, {label}: at most {peak / 1e6:.1f} MB "
            f"({workload.shards} shards of {shard / 1e6:.1f})"
        )


def run(options: WriterBenchOptions) -> None:
    """Measure, print, save, draw."""
    refuse_what_cannot_be_saved(options)
    workload = options.workload
    facts = machine_facts()
    print_facts(facts, workload)
    with scratch(options.folder, needed=2 * workload.bytes) as folder:
        section = writing(folder / "written", workload)
        peak_bytes = peaks(folder / "written", workload)
    print_section(section)
    print_peaks(peak_bytes, workload)
    keep(options, [section], script=PROGRAM, machine=facts, workload=workload, peak_bytes=peak_bytes)


if __name__ == "__main__":
    sys.exit(run_command(PROGRAM, lambda: run(parse(WriterBenchOptions, prog=PROGRAM))))

"""Reading random batches, against memory, the disk, and what a user would pick instead.

    python benchmarks/bench_loader.py [--json FILE] [--chart FILE.svg] [--quick] [--folder DIR]

4,096 records of ViT-S/16, 196 × 384 float16, in random batches of 256, whole epochs. Everyone has written the
same records into a store of its own and is checked to give back each of them. Ours is `TokenLoader` on the
CPU: the device tier is a copy in this process's memory. int8 is compared in images. Three measurements:

- page cache warm: against copying the same batches record by record, memory to memory, in one thread. Ours
  reads in two threads; hence the ceiling with two as well;
- page cache cold: opening and one epoch after the system forgot the files, against plain sequential reads;
- what `TokenLoader` costs a batch beyond copying it, for narrow and wide tokens.

The contenders take turns and are compared within a round, so the shares carry over to other machines.
"""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
from cold_reads import cold_reads
from files import can_be_cold, scratch
from overhead import overheads, print_overheads
from pydantic import Field
from readers import READERS
from report import BenchOptions, keep, machine_facts, print_facts, print_section, refuse_what_cannot_be_saved
from warm_reads import warm_reads
from workload import Workload
from writers import INT8_WRITERS, WRITERS

from configs import UserError, parse, run_command

PROGRAM = "bench_loader.py"
STORES = WRITERS | INT8_WRITERS
COPIES_IN_MEMORY = 5
"""The records themselves, those that both engines' device tiers hold, and room for streaming and checks."""


class LoaderBenchOptions(BenchOptions):
    """Reading random batches, against memory, the disk, NumPy, h5py, Zarr, TensorStore and others.

    Example: python benchmarks/bench_loader.py --json loader.json --chart loader.svg
    """

    folder: Path = Field(
        default=Path("bench_loader.tmp"), description="where to write; made and removed, it must not exist"
    )


def write_all(folder: Path, workload: Workload) -> None:
    """What the readers read, each in a folder of its own."""
    for store in dict.fromkeys(["plain", *(reader.store for reader in READERS if reader.installed)]):
        (folder / store).mkdir()
        STORES[store].write(folder / store, workload)


def require_memory(needed: int) -> None:
    """Raise `UserError` where fewer than `needed` bytes are free: the page cache would not stay warm."""
    free = psutil.virtual_memory().available
    if free < needed:
        raise UserError(
            f"{free / 1e9:.1f} GB of memory are free, and {needed / 1e9:.1f} are needed "
            "to hold every contender's files in the page cache: use a larger machine, or --quick"
        )


def run(options: LoaderBenchOptions) -> None:
    """Measure, print, save, draw."""
    refuse_what_cannot_be_saved(options)
    workload = options.workload
    needed = len(STORES) * workload.bytes
    require_memory(needed + COPIES_IN_MEMORY * workload.bytes)
    facts = machine_facts()
    print_facts(facts, workload)
    with scratch(options.folder, needed) as folder:
        write_all(folder, workload)
        sections = [warm_reads(folder, workload)]
        print_section(sections[-1])
        if can_be_cold(folder):
            sections.append(cold_reads(folder, workload))
            print_section(sections[-1])
        else:
            print("page cache cold: not measured, this system keeps the files in memory")
        overhead = overheads(folder, workload)
        print_overheads(overhead, workload.batch)
    keep(
        options,
        sections,
        script=PROGRAM,
        machine=facts,
        workload=workload,
        overhead=overhead,
    )


if __name__ == "__main__":
    sys.exit(run_command(PROGRAM, lambda: run(parse(LoaderBenchOptions, prog=PROGRAM))))

"""Opening and one epoch after the system forgot the files, against plain sequential reads."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from files import cached_share, drop_from_cache, files_in
from measure import Contender, Section, measure
from readers import READERS, Reader
from warm_reads import drained, reader_bytes
from workload import Workload


def reading_plainly(folder: Path, workload: Workload, threads: int) -> Callable[[], int]:
    """The ceiling: whole files in sequence, in pieces of a batch's size; each thread has files of its own."""
    buffers = [bytearray(workload.batch * workload.record_bytes) for _ in range(threads)]

    def read(thread: int) -> None:
        for path in files_in(folder)[thread::threads]:
            with path.open("rb", buffering=0) as file:
                while file.readinto(buffers[thread]):
                    pass

    def run() -> int:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(read, range(threads)))
        return workload.records

    return run


def cold_reads(folder: Path, workload: Workload) -> Section:
    """Every reader anew, from files that are not in memory."""
    stayed = [0.0]

    def forgetting(store: str) -> Callable[[], None]:
        def forget() -> None:
            gc.collect()  # a page that is mapped stays
            drop_from_cache(folder / store)
            stayed.append(cached_share(folder / store))

        return forget

    contenders = [
        Contender(
            label,
            reading_plainly(folder / "plain", workload, threads),
            workload.record_bytes,
            "ceiling",
            prepare=forgetting("plain"),
        )
        for threads, label in ((1, "sequential reads, 1 thread"), (4, "sequential reads, 4 threads"))
    ]
    for reader in READERS:
        if reader.installed:

            def run(reader: Reader = reader) -> int:
                return drained(reader.open(folder / reader.store, workload))

            image_bytes = reader_bytes(reader, folder, workload)
            contenders.append(
                Contender(reader.label, run, image_bytes, reader.role, prepare=forgetting(reader.store))
            )
    section = measure(
        "cold",
        "Opening and the first epoch, page cache cold",
        contenders,
        rounds=workload.rounds,
        not_installed=[reader.label for reader in READERS if not reader.installed],
    )
    return dataclasses.replace(section, note=f"at most {max(stayed):.2%} of the files stayed in memory")

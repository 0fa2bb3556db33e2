"""Epochs from a warm page cache, against copying the same batches from memory to memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from measure import Contender, Section, measure
from own_store import open_store, write_store
from readers import OWN_ENGINES, READERS, Epoch, copying_from_memory, own_epoch
from workload import Workload


def drained(epoch: Epoch) -> int:
    """Go through an epoch; how many images it gave."""
    return sum(len(records) for records, _ in epoch())


def require_right(label: str, epoch: Epoch, workload: Workload) -> None:
    """Raise `RuntimeError` unless an epoch gives every record once, as it was written."""
    given = np.zeros(workload.records, dtype=np.int64)
    for records, patches in epoch():
        given[records] += 1
        if not np.array_equal(patches.view(np.uint16), workload.patches[records].view(np.uint16)):
            raise RuntimeError(f"{label} does not give back what was written")
    if not (given == 1).all():
        raise RuntimeError(f"{label} does not give every record once")


def _memory_ceilings(workload: Workload) -> list[Contender]:
    return [
        Contender(label, copying_from_memory(workload, threads), workload.record_bytes, "ceiling")
        for threads, label in ((1, "memcpy, 1 thread"), (2, "memcpy, 2 threads"))
    ]


def warm_reads(folder: Path, workload: Workload) -> Section:
    """Every reader, opened and checked before: what is measured are its later epochs."""
    contenders = _memory_ceilings(workload)
    for reader in READERS:
        if reader.installed:
            epoch = reader.open(folder / reader.store, workload)
            require_right(reader.label, epoch, workload)
            contenders.append(_draining(reader.label, epoch, workload.record_bytes, ours=reader.ours))
    for contender in contenders:
        contender.run()  # workers were forked after the buffers were filled: the next writes copy pages
    return measure(
        "warm",
        f"Random batches of {workload.batch}, page cache warm",
        contenders,
        rounds=workload.rounds,
        not_installed=[reader.label for reader in READERS if not reader.installed],
    )


def _draining(label: str, epoch: Epoch, image_bytes: int, *, ours: bool) -> Contender:
    def run() -> int:
        return drained(epoch)

    return Contender(label, run, image_bytes, "ours" if ours else "other")


def int8_reads(folder: Path, workload: Workload) -> Section:
    """int8 beside float16 on the host tier: codes and scales as stored, decoded where they are used."""
    contenders = _memory_ceilings(workload)[:1]
    for engine, store_format in OWN_ENGINES.items():
        write_store(folder / f"{engine} int8", workload, store_format, "int8")
        for dtype, store in (("float16", engine), ("int8", f"{engine} int8")):
            epoch = own_epoch(folder / store, workload, "host")
            drained(epoch)
            image_bytes = open_store(folder / store).record_bytes
            contenders.append(_draining(f"ours, {engine}, {dtype}", epoch, image_bytes, ours=True))
    return measure(
        "int8",
        "int8 (codes and scales, not decoded) beside float16, page cache warm",
        contenders,
        rounds=workload.rounds,
    )

"""Epochs from a warm page cache, against copying the same batches from memory to memory."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from measure import Contender, Section, measure
from own_store import record_bytes, stored_patches
from readers import READERS, Epoch, Reader, copying_from_memory
from workload import Workload

from cache.read_ahead import AHEAD

NOTE = f"ours: TokenLoader, {AHEAD} reading threads; int8 as stored, decoded in the probe's step"


def drained(epoch: Epoch) -> int:
    """Go through an epoch; how many images it gave."""
    return sum(len(records) for records, _ in epoch())


def require_right(reader: Reader, epoch: Epoch, workload: Workload) -> None:
    """Raise `RuntimeError` unless an epoch gives every record once, as it was stored."""
    given = np.zeros(workload.records, dtype=np.int64)
    expected = stored_patches(workload, reader.dtype)
    for records, patches in epoch():
        given[records] += 1
        if not np.array_equal(patches.view(np.uint8), expected[records].view(np.uint8)):
            raise RuntimeError(f"{reader.label} does not give back what was written")
    if not (given == 1).all():
        raise RuntimeError(f"{reader.label} does not give every record once")


def reader_bytes(reader: Reader, folder: Path, workload: Workload) -> int:
    """Bytes that `reader` reads for an image, an int8 image's scales included."""
    return record_bytes(folder / reader.store) if reader.ours else workload.record_bytes


def warm_reads(folder: Path, workload: Workload) -> Section:
    """Every reader, opened and checked before: what is measured are its later epochs."""
    contenders = [
        Contender(
            f"memcpy, {threads} thread{'s' * (threads > 1)}",
            copying_from_memory(workload, threads),
            workload.record_bytes,
            "ceiling",
        )
        for threads in (1, 2)
    ]
    for reader in READERS:
        if reader.installed:
            epoch = reader.open(folder / reader.store, workload)
            require_right(reader, epoch, workload)
            image_bytes = reader_bytes(reader, folder, workload)
            contenders.append(Contender(reader.label, partial(drained, epoch), image_bytes, reader.role))
    for contender in contenders:
        contender.run()  # workers were forked after the buffers were filled: the next writes copy pages
    return measure(
        "warm",
        f"Random batches of {workload.batch}, page cache warm",
        contenders,
        rounds=workload.rounds,
        not_installed=[reader.label for reader in READERS if not reader.installed],
        note=NOTE,
    )

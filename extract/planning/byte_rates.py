"""Bytes per second of the disk and of memory, and how much there is of each."""

from __future__ import annotations

import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from cache import chosen_device, seeded_permutation
from cache.disk_space import existing_folder, free_bytes
from cache.free_memory import free_device_memory, free_host_memory
from configs import UserError, in_bytes
from extract.planning.rates import SECONDS, Measured, wait_for
from extract.planning.work import Work

LARGEST_FILE = 512 * 2**20
SMALLEST_FILE = 2**20
WRITE_BYTES = 32 * 2**20
"""Between two flushes, so that a slow disk takes no longer than it is asked for."""
READ_BYTES = 8 * 2**20
READS_IN_FLIGHT = 4
TOKENS_IN_MEMORY = 256 * 2**20


def disk_rates(work: Work) -> tuple[Measured, Measured]:
    """Writing and reading, in a file that has no name and so cannot be left behind."""
    folder = existing_folder(work.store)
    size = min(LARGEST_FILE, free_bytes(folder) // 10)
    advice = "choose another --out, or state the disk's rates in a file for `cache plan --rates`"
    if size < SMALLEST_FILE:
        raise UserError(f"{folder} has too little space left to measure its speed: {advice}")
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            write = _write(file.fileno(), size)
            written = os.fstat(file.fileno()).st_size
            read = _read(file.fileno(), written)
    except OSError as error:
        raise UserError(f"cannot measure the disk in {folder}: {error.strerror}; {advice}") from None
    how = f"measured, {in_bytes(written)} in {folder}"
    return Measured(write, f"{how}, flushed"), Measured(read, f"{how}, uncached")


def _write(file: int, size: int) -> float:
    """Bytes per second of large writes that reach the disk; at most `size` bytes."""
    content = np.random.default_rng(0).bytes(WRITE_BYTES)
    written, started = 0, time.perf_counter()
    while written < size and time.perf_counter() - started < SECONDS:
        written += os.write(file, content[: size - written])
        os.fsync(file)
    return written / (time.perf_counter() - started)


def _read(file: int, size: int) -> float:
    """Bytes per second of stretches at random, several at a time: as `TokenLoader` streams."""
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    first, *others = (seeded_permutation(-(-size // READ_BYTES), 0) * READ_BYTES).tolist()
    started = time.perf_counter()

    def read(place: int) -> int:
        late = time.perf_counter() - started > SECONDS and place != first
        return 0 if late else len(os.pread(file, READ_BYTES, place))

    with ThreadPoolExecutor(READS_IN_FLIGHT) as threads:
        found = sum(threads.map(read, (first, *others)))
    return found / (time.perf_counter() - started)


def disk_free(work: Work) -> tuple[Measured]:
    """What may still be written where the store stands, or would stand."""
    return (Measured(free_bytes(work.store), f"free in {existing_folder(work.store)}"),)


def host_rate(work: Work) -> tuple[Measured]:
    """Records at random from memory to the device, two batches at a time: as `TokenLoader` gathers."""
    device = chosen_device(work.options.device)
    record = work.probe_bytes(work.options.dtype)
    records = np.ones((max(2, TOKENS_IN_MEMORY // record), record), dtype=np.uint8)
    batch = max(1, READ_BYTES // record)
    order = seeded_permutation(len(records), 0)
    started = time.perf_counter()

    def gather(chosen: np.ndarray) -> int:
        buffer = torch.empty(batch, record, dtype=torch.uint8, pin_memory=device.type == "cuda")
        rows, count = buffer.numpy(), 0
        while True:
            for place, number in enumerate(np.roll(chosen, -count)[:batch].tolist()):
                rows[place] = records[number]
            buffer.to(device)
            count += batch
            if time.perf_counter() - started > SECONDS / 2:
                return count

    with ThreadPoolExecutor(2) as threads:
        gathered = sum(threads.map(gather, np.array_split(order, 2)))
    wait_for(device)
    rate = gathered * record / (time.perf_counter() - started)
    return (Measured(rate, f"measured, records at random from memory to {device}"),)


def host_memory(_: Work) -> tuple[Measured]:
    """What may be used without swapping."""
    return (Measured(free_host_memory(), "free on this machine"),)


def device_rates(work: Work) -> tuple[Measured, Measured]:
    """Records at random within the device's memory, and what is free of it."""
    device = chosen_device(work.options.device)
    free = free_device_memory(device)
    if not free:
        nothing = Measured(None, f"{device} has no memory of its own")
        return nothing, nothing
    record = work.probe_bytes(work.options.dtype)
    records = torch.ones(max(2, min(2**30, free // 4) // record), record, dtype=torch.uint8, device=device)
    order = torch.randperm(len(records), device=device)[: len(records) // 2]
    records[order]
    wait_for(device)
    gathered, started = 0, time.perf_counter()
    while time.perf_counter() - started < SECONDS / 4:
        records[order]
        wait_for(device)
        gathered += len(order)
    rate = gathered * record / (time.perf_counter() - started)
    return Measured(rate, f"measured, records at random on {device}"), Measured(free, f"free on {device}")

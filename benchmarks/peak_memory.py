"""How much memory a writer takes beyond the records it is given, in a process of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import psutil
from files import empty
from workload import QUICK, Workload
from writers import WRITERS

SAMPLE_SECONDS = 0.001


def peak_of_writing(store: str, folder: Path, workload: Workload) -> int:
    """Bytes by which the process grows while `WRITERS[store]` writes `workload`, at most."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_peak_of_writing, store, folder, workload).result()


def _peak_of_writing(store: str, folder: Path, workload: Workload) -> int:
    write = WRITERS[store].write
    empty(folder)
    write(folder, QUICK)  # imports its library
    empty(folder)
    _ = workload.patches  # made here, and kept
    before = psutil.Process().memory_info().rss
    with _sampled() as found:
        write(folder, workload)
    return max(found) - before


@contextmanager
def _sampled() -> Iterator[list[int]]:
    """The process's resident bytes, every millisecond."""
    process, ended = psutil.Process(), threading.Event()
    found = [process.memory_info().rss]

    def sample() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            found.append(process.memory_info().rss)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()

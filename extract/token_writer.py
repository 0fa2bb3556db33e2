"""Writing tokens in a thread, while the device computes the next batch."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from cache import ShardWriter, SplitWriter, TokenDtype, refuse_unless_finite
from extract.host_copies import Copied

AHEAD = 2
"""Batches of tokens that may wait for the disk: the bound on memory."""


@dataclass(frozen=True)
class TokenJob:
    """One view of consecutive records of one shard; their views come one after another.

    tokens: array name → its encoding, on its way to the host, and what it was made from, both (B, …); the
    float32 means are their own encoding. `failures`: row → why the image could not be read.
    """

    shard: int
    first: int
    tokens: Copied
    labels: np.ndarray
    sample_id: np.ndarray
    failures: Mapping[int, str]
    view: int = 0


class TokenWriter:
    """A thread that writes jobs, shard after shard, as their tokens reach the host.

    An error in the thread is raised by the next `put` or by `close`. Leaving the context with an error
    drops the shard in progress; whole shards stay.
    """

    def __init__(self, split: SplitWriter, dtype: TokenDtype, on_written: Callable[[int, int], None]) -> None:
        self._split = split
        self._dtype = dtype
        self._on_written = on_written
        self._jobs: queue.Queue[TokenJob | None] = queue.Queue(AHEAD)
        self._error: BaseException | None = None
        self._stop = threading.Event()
        self._shard: ShardWriter | None = None
        self._bytes = 0  # of the batch whose views are being written
        self._thread = threading.Thread(target=self._run, name="token-writer", daemon=True)

    def __enter__(self) -> TokenWriter:
        self._thread.start()
        return self

    def put(self, job: TokenJob) -> None:
        """Queue a job; waits while `AHEAD` others wait."""
        while True:
            if self._error is not None:
                raise self._error
            try:
                return self._jobs.put(job, timeout=0.2)
            except queue.Full:
                continue

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._stop.set()
        while self._thread.is_alive():
            try:
                self._jobs.put(None, timeout=0.2)
                break
            except queue.Full:
                continue
        self._thread.join()
        if self._shard is not None:
            self._shard.abort()
        if error is None and self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while (job := self._jobs.get()) is not None and not self._stop.is_set():
                self._write(job)
        except BaseException as error:
            self._error = error

    def _write(self, job: TokenJob) -> None:
        if self._shard is None:
            self._shard = self._split.begin(job.shard)
        shard = self._shard
        offset = job.first - shard.first
        for name, (encoded, tokens) in job.tokens.wait().items():
            refuse_unless_finite(encoded, tokens, name, self._dtype)
            self._bytes += shard.write_encoded(name, offset, encoded, job.view)
        if job.view < self._split.manifest.views - 1:
            return
        shard.write("labels", offset, job.labels)
        shard.write("sample_id", offset, job.sample_id)
        for row, reason in job.failures.items():
            shard.skip(offset + row, reason)
        if offset + len(job.labels) == shard.records:
            shard.commit()
            self._shard = None
        self._on_written(len(job.labels), self._bytes)
        self._bytes = 0

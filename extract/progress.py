"""How far extraction is: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

LOG_EVERY_SECONDS = 15.0


class _Rates(ProgressColumn):
    """Images and megabytes per second since the start."""

    def render(self, task: Task) -> Text:
        return Text(_rates(task.completed, task.fields["written"], task.elapsed or 0.0))


def _rates(images: float, written: int, seconds: float) -> str:
    seconds = max(seconds, 1e-9)
    return f"{images / seconds:,.0f} images/s  {written / seconds / 1e6:,.1f} MB/s written"


class ExtractionProgress:
    """Counts what the writer thread has written."""

    def __init__(self, progress: Progress | None, label: str, total: int, *, every: float = math.inf) -> None:
        self._progress = progress
        self._every = every
        self._label = label
        self._total = total
        self._started = self._logged = time.monotonic()
        self._lock = threading.Lock()
        self.images = 0
        self.written = 0
        if progress is not None:
            self._task = progress.add_task(label, total=total, written=0)

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def update(self, images: int, written: int) -> None:
        """Count `images` more images and `written` more bytes."""
        with self._lock:
            self.images += images
            self.written += written
        if self._progress is not None:
            self._progress.update(self._task, completed=self.images, written=self.written)
        elif time.monotonic() - self._logged > self._every:
            self._logged = time.monotonic()
            left = self.seconds / self.images * (self._total - self.images)
            print(
                f"{self._label}: {self.images:,}/{self._total:,}  "
                f"{_rates(self.images, self.written, self.seconds)}  {left:,.0f} s left",
                file=sys.stderr,
                flush=True,
            )


@contextmanager
def extraction_progress(label: str, total: int, shown: bool) -> Iterator[ExtractionProgress]:
    """Count, and where `shown` show, progress over `total` images until the block ends."""
    console = Console(stderr=True)
    if not shown or not console.is_terminal:
        yield ExtractionProgress(None, label, total, every=LOG_EVERY_SECONDS if shown else math.inf)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rates(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield ExtractionProgress(progress, label, total)

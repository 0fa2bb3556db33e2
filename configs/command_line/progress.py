"""How far a command is: a bar on a terminal, a line now and then in a log, nothing when it is to be quiet.

All of it goes to standard error; standard output is for results.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from configs.units import in_time

LOG_EVERY_SECONDS = 15.0


class ProgressDisplay:
    """Counts images, and shows how many are done, how fast, and how long the rest takes.

    `label` says what is done now, `note` what else is worth knowing. Threads may share a display.
    """

    def __init__(self, label: str = "", total: int = 0, *, shown: bool) -> None:
        self.label, self.note = label, ""
        self._shown = shown
        self._done, self._total = 0, total
        self._counted = 0
        self._started = self._logged = time.monotonic()
        self._lock = threading.Lock()
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        console = Console(stderr=True)
        if self._shown and console.is_terminal:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TextColumn("{task.fields[facts]}", markup=False),
            )
            self._bar = Progress(*columns, console=console, expand=True, redirect_stdout=False)
            self._task = self._bar.add_task("", visible=False, facts="")
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    @property
    def images(self) -> int:
        """That were counted, by this process."""
        return self._counted

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def stand_at(self, done: int, total: int) -> None:
        """So many images of so many are done: by an earlier run, or because the work has changed."""
        self._done, self._total = done, total
        self.advance(0)

    def advance(self, images: int) -> None:
        """Count images."""
        with self._lock:
            self._done += images
            self._counted += images
            due = time.monotonic() - self._logged > LOG_EVERY_SECONDS
            if due:
                self._logged = time.monotonic()
        if self._bar is not None:
            self._bar.update(
                self._task,
                completed=self._done,
                total=self._total,
                description=self.label,
                facts=self._facts(),
                visible=True,
            )
        elif due and self._shown:
            line = f"{self.label}: {self._done:,}/{self._total:,}  {self._facts()}"
            print(line, file=sys.stderr, flush=True)

    def say(self, line: str) -> None:
        """A line that stays."""
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        elif self._shown:
            print(line, file=sys.stderr, flush=True)

    def _facts(self) -> str:
        rate = self._counted / max(self.seconds, 1e-9)
        left = (
            f"{in_time((self._total - self._done) / rate)} left" if rate and self._done < self._total else ""
        )
        return "  ".join(part for part in (f"{rate:,.0f} images/s", self.note, left) if part)

"""How far extraction is: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from configs import in_bytes
from configs.command_line.progress import ProgressDisplay


class ExtractionProgress(ProgressDisplay):
    """Counts what the writer thread has written."""

    def __init__(self, label: str, total: int, *, shown: bool) -> None:
        super().__init__(label, total, shown=shown)
        self.written = 0

    def update(self, images: int, written: int) -> None:
        """Count `images` more images and `written` more bytes."""
        self.written += written
        self.note = f"{in_bytes(self.written / max(self.seconds, 1e-9))}/s written"
        self.advance(images)


@contextmanager
def extraction_progress(label: str, total: int, shown: bool) -> Iterator[ExtractionProgress]:
    """Count, and where `shown` show, progress over `total` images until the block ends."""
    with ExtractionProgress(label, total, shown=shown) as progress:
        yield progress

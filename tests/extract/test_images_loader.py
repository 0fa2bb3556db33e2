from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from itertools import count

import numpy as np
import pytest
from PIL import Image

from configs import UserError
from extract.image_loader import ImageBatch, load_images
from extract.sources import ImageSource

PIXELS = (3, 4, 4)


class Grey(ImageSource):
    """Sixteen images, the fifth of which does something first."""

    classes = ("one",)
    fingerprint = "grey"
    labels = np.zeros(16, dtype=np.int64)

    def __init__(self, happens: Callable[[], object]) -> None:
        self._happens = happens

    def load(self, index: int) -> Image.Image:
        if index == 5:
            self._happens()
        return Image.new("L", (4, 4), index)

    def describe(self, index: int) -> str:
        return f"grey[{index}]"


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).transpose(2, 0, 1)


def batches(happens: Callable[[], object], workers: int) -> Iterator[ImageBatch]:
    order = np.arange(16)[::-1].copy()
    places = [list(range(first, first + 2)) for first in range(0, 16, 2)]
    return load_images(Grey(happens), order, places, pixels, PIXELS, workers=workers, pin_memory=False)


def nothing() -> None: ...


def fail() -> None:
    raise OSError("torn")


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_order_with_what_could_not_be_read(workers: int) -> None:
    found = list(batches(fail, workers))
    assert [batch.records for batch in found] == [(n, n + 1) for n in range(0, 16, 2)]
    assert [batch.images[0, 0, 0, 0].item() for batch in found] == [15, 13, 11, 9, 7, 0, 3, 1]
    assert [batch.failures for batch in found if batch.failures] == [{0: "grey[5]: torn"}]


def exits() -> None:
    os._exit(3)


def exits_quietly() -> None:
    os._exit(0)


def is_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("happens", "how"),
    [
        (exits, "exited unexpectedly with exit code 3"),
        (exits_quietly, "exited unexpectedly"),
        (is_killed, "killed by signal: Killed"),
    ],
)
def test_a_worker_that_dies_is_reported_with_the_image_it_read(
    happens: Callable[[], object], how: str
) -> None:
    with pytest.raises(
        UserError, match=rf"a data worker \(process \d+\) died while reading grey\[5\]: {how};"
    ) as said:
        list(batches(happens, 2))
    assert "\n" not in str(said.value)


def test_a_death_between_two_batches_is_reported_where_the_main_thread_is() -> None:
    loaded = batches(is_killed, 2)
    next(loaded)
    with pytest.raises(UserError, match=r"a data worker .* died while reading grey\[5\]"):
        for _ in count():  # as a long forward pass: the loader is not asked again
            pass


def test_after_a_death_workers_can_be_started_again() -> None:
    before = signal.getsignal(signal.SIGCHLD)
    with pytest.raises(UserError):
        list(batches(is_killed, 2))
    assert len(list(batches(nothing, 2))) == 8
    del before


def test_oddities_that_pillow_warns_of_are_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    import warnings

    list(batches(lambda: warnings.warn("odd", stacklevel=1), 0))
    assert capfd.readouterr().err == ""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from PIL import Image

from configs import UserError
from extract.image_loader import ImageBatch, load_images
from extract.image_views import ImageViews
from extract.sources import ImageSource

PIXELS = (3, 4, 4)
CPU = torch.device("cpu")


def nothing() -> None: ...


class Grey(ImageSource):
    """Sixteen images; something happens before image 5, and before image 7."""

    classes = ("one",)
    fingerprint = "grey"
    labels = np.zeros(16, dtype=np.int64)

    def __init__(self, happens: Callable[[], object], waits: Callable[[], object]) -> None:
        self._before = {5: happens, 7: waits}

    def load(self, index: int) -> Image.Image:
        self._before.get(index, nothing)()
        return Image.new("L", (4, 4), index)

    def describe(self, index: int) -> str:
        return f"grey[{index}]"


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).transpose(2, 0, 1)


def batches(
    happens: Callable[[], object], workers: int, waits: Callable[[], object] = nothing
) -> Iterator[ImageBatch]:
    order = np.arange(16)[::-1].copy()
    places = [list(range(first, first + 2)) for first in range(0, 16, 2)]
    views = ImageViews(pixels, PIXELS)
    return load_images(Grey(happens, waits), order, places, views, workers=workers, device=CPU)


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
    ("happens", "how", "remedy"),
    [
        (exits, "ended with exit code 3", "mend or remove that image, or see more with --workers 0"),
        (exits_quietly, "ended with exit code 0", "mend or remove that image"),
        (is_killed, "was killed by SIGKILL", "if memory ran out, give fewer --workers"),
    ],
)
def test_a_worker_that_dies_is_reported_with_the_image_it_read(
    happens: Callable[[], object], how: str, remedy: str
) -> None:
    with pytest.raises(UserError) as said:
        list(batches(happens, 2))
    assert str(said.value).startswith(f"a data worker {how} while reading grey[5]: {remedy}")
    assert "\n" not in str(said.value)


def test_a_death_in_another_worker_than_the_one_awaited_is_reported() -> None:
    # worker 0 waits at image 7 for ever, worker 1 dies at image 5
    with pytest.raises(UserError, match=r"was killed by SIGKILL while reading grey\[5\]"):
        list(batches(is_killed, 2, waits=lambda: threading.Event().wait()))


def test_after_a_death_workers_can_be_started_again() -> None:
    with pytest.raises(UserError):
        list(batches(is_killed, 2))
    assert len(list(batches(nothing, 2))) == 8


def test_a_reader_that_stops_early_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = batches(nothing, 2)
    next(loaded)
    started = multiprocessing.active_children()
    del loaded
    assert started
    assert not any(process.is_alive() for process in started)


def test_batches_stay_as_they_are_while_others_are_read() -> None:
    found = list(batches(nothing, 1))
    assert [batch.images[1, 0, 0, 0].item() for batch in found] == [14, 12, 10, 8, 6, 4, 2, 0]


def test_nothing_to_read_is_no_error() -> None:
    source = Grey(nothing, nothing)
    views = ImageViews(pixels, PIXELS)
    assert not list(load_images(source, np.arange(0), [], views, workers=2, device=CPU))


def test_oddities_that_pillow_warns_of_are_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    list(batches(lambda: warnings.warn("odd", stacklevel=1), 0))
    assert capfd.readouterr().err == ""

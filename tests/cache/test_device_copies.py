"""Copies to a device run ahead of the steps, and their sources live until they are done."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch

from cache import TokenBatch
from cache.device_copies import AHEAD, copied_ahead

CPU = torch.device("cpu")
BATCHES = 5


class Event:
    """Says when it is waited for."""

    def __init__(self, number: int, log: list[str]) -> None:
        self.number, self.log = number, log

    def synchronize(self) -> None:
        self.log.append(f"waited for {self.number}")


class Stream:
    """A stream without a device."""

    def __init__(self, log: list[str]) -> None:
        self.log, self.copies = log, 0

    def record_event(self) -> Event:
        self.copies += 1
        self.log.append(f"copying {self.copies - 1}")
        return Event(self.copies - 1, self.log)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happens on a CUDA device that is not there: copies begun, waited for, memory lent to a stream."""
    happened: list[str] = []
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream(happened))
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "the steps' stream")
    monkeypatch.setattr(
        torch.Tensor, "record_stream", lambda tensor, stream: happened.append(f"for {stream}")
    )
    return happened


def batches(made: list[weakref.ref[torch.Tensor]]) -> Iterator[TokenBatch]:
    for number in range(BATCHES):
        labels = torch.tensor([number])
        made.append(weakref.ref(labels))
        yield TokenBatch(labels, index=torch.tensor([0]))


def test_batches_come_in_their_order(log: list[str]) -> None:
    assert [int(batch.labels) for batch in copied_ahead(batches([]), CPU)] == list(range(BATCHES))


def test_the_next_copies_begin_before_a_batch_is_given(log: list[str]) -> None:
    next(copied_ahead(batches([]), CPU))
    begun = [f"copying {number}" for number in range(AHEAD + 1)]
    assert log[: len(begun) + 1] == [*begun, "waited for 0"]


def test_a_batch_is_given_to_the_stream_that_uses_it(log: list[str]) -> None:
    next(copied_ahead(batches([]), CPU))
    assert log[-2:] == ["for the steps' stream"] * 2  # labels and index


def test_a_source_lives_until_its_copy_is_done(log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        TokenBatch, "to", lambda batch, *_, **__: TokenBatch(batch.labels + 0, batch.index + 0)
    )
    made: list[weakref.ref[torch.Tensor]] = []
    copies = copied_ahead(batches(made), CPU)
    for number in range(BATCHES - AHEAD):
        next(copies)
        alive = [source() is not None for source in made]
        assert alive == [False] * (number + 1) + [True] * AHEAD


def test_nothing_to_copy_gives_nothing(log: list[str]) -> None:
    assert list(copied_ahead(iter(()), CPU)) == []

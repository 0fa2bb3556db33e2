"""Copies to a device run ahead of the steps, and their sources live until they are done."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch

from cache import TokenBatch
from cache.device_copies import AHEAD, _copying_stream, copied_ahead

CPU = torch.device("cpu")
BATCHES = 8


class Event:
    """Says when it is waited for."""

    def __init__(self, what: str, log: list[str]) -> None:
        self.what, self.log = what, log

    def synchronize(self) -> None:
        self.log.append(f"waited for {self.what}")


class Stream:
    """A stream without a device, on which the n-th thing that is recorded is `work` n."""

    def __init__(self, work: str, log: list[str]) -> None:
        self.work, self.log, self.recorded = work, log, 0

    def __str__(self) -> str:
        return f"the stream of {self.work}"

    def record_event(self) -> Event:
        what = f"{self.work} {self.recorded}"
        self.recorded += 1
        self.log.append(what)
        return Event(what, self.log)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What happens on a CUDA device that is not there: copies and steps begun, waited for, memory lent."""
    happened: list[str] = []
    steps = Stream("step", happened)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream("copy", happened))
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: steps)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(
        torch.Tensor, "record_stream", lambda tensor, stream: happened.append(f"for {stream}")
    )
    _copying_stream.cache_clear()
    yield happened
    _copying_stream.cache_clear()


def batches(made: list[weakref.ref[torch.Tensor]]) -> Iterator[TokenBatch]:
    for number in range(BATCHES):
        labels = torch.tensor([number])
        made.append(weakref.ref(labels))
        yield TokenBatch(labels, index=torch.tensor([0]))


def test_batches_come_in_their_order(log: list[str]) -> None:
    assert [int(batch.labels) for batch in copied_ahead(batches([]), CPU)] == list(range(BATCHES))


def test_the_next_copies_begin_before_a_batch_is_given(log: list[str]) -> None:
    next(copied_ahead(batches([]), CPU))
    begun = [f"copy {number}" for number in range(AHEAD + 1)]
    assert log[: len(begun) + 1] == [*begun, "waited for copy 0"]


def test_a_batch_is_given_to_the_stream_that_uses_it(log: list[str]) -> None:
    next(copied_ahead(batches([]), CPU))
    assert log[-2:] == ["for the stream of step"] * 2  # labels and index


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


def test_a_copy_begins_when_the_steps_before_the_last_are_done(log: list[str]) -> None:
    for _ in copied_ahead(batches([]), CPU):
        pass
    for number in range(2 * AHEAD + 1, BATCHES):
        waited = log.index(f"waited for step {number - 2 * AHEAD - 1}")
        assert log.index(f"step {number - AHEAD - 1}") < waited < log.index(f"copy {number}")


def test_the_first_copies_wait_for_no_step(log: list[str]) -> None:
    copies = copied_ahead(batches([]), CPU)
    for _ in range(AHEAD + 1):
        next(copies)
    assert not [line for line in log if line.startswith("waited for step")]


def test_all_epochs_are_copied_on_one_stream(log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[object] = []
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: used.append(stream) or nullcontext())
    for _ in range(2):
        next(copied_ahead(batches([]), CPU))
    assert len(set(used)) == 1


def test_every_array_of_a_batch_is_copied_from_page_locked_memory(
    log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    locked: list[torch.Tensor] = []
    copied: list[torch.Tensor] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: locked.append(tensor + 0) or locked[-1])
    monkeypatch.setattr(TokenBatch, "to", lambda batch, *_, **__: copied.append(batch.labels) or batch)
    next(copied_ahead(batches([]), CPU))
    assert len(locked) == 2 * len(copied)  # labels and index
    assert all(any(source is one for one in locked) for source in copied)

"""A run's state on disk."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from probe import checkpoint
from probe.checkpoint import Checkpoint, Progress, stack_state, stacks_state
from probe.outcome import EpochRow, Outcome
from probe.trial_spec import TrainingImages, TrialSpec


class Clock:
    """`time.monotonic` that goes on only when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The checkpoints' clock; each writing takes one second of it."""
    stopped = Clock()
    monkeypatch.setattr(checkpoint, "time", stopped)
    written = checkpoint.write_bytes

    def slowly(path: Path, content: bytes) -> None:
        stopped.now += 1.0
        written(path, content)

    monkeypatch.setattr(checkpoint, "write_bytes", slowly)
    return stopped


def _progress(epochs: int = 2) -> Progress:
    spec = TrialSpec("ep4", (1, 3), "post", TrainingImages(shots=5, draw=2), 0.1, 0.01, 7)
    rows = [EpochRow("a", number, 0.1 * number, 50.0, 90.0, None, None, 123.4) for number in (1, 2)]
    outcome = Outcome(spec, "a", 0.05, 128, 600, rows, seconds=1.25, pruned=True)
    return Progress(passes=1, epochs=epochs, outcomes=[outcome], trained=1)


def _tensors() -> dict[str, torch.Tensor]:
    return {"0/probe/weight": torch.randn(2, 3), "1/optimizer/steps": torch.tensor([1, 2])}


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    tensors = _tensors()
    Checkpoint(tmp_path).save(_progress(), tensors)
    found = Checkpoint(tmp_path).load()
    assert found is not None
    assert found[0] == _progress()
    assert found[1].keys() == tensors.keys()
    assert all(torch.equal(found[1][name], tensor) for name, tensor in tensors.items())


def test_a_state_without_tensors_comes_back(tmp_path: Path) -> None:
    Checkpoint(tmp_path).save(_progress(), {})
    assert Checkpoint(tmp_path).load() == (_progress(), {})


def test_the_loss_of_a_diverged_trial_comes_back(tmp_path: Path) -> None:
    progress = _progress()
    progress.outcomes[0].epochs = [EpochRow("a", 1, math.nan, None, None, None, None, math.inf)]
    Checkpoint(tmp_path).save(progress, {})
    found = Checkpoint(tmp_path).load()
    assert found is not None
    (row,) = found[0].outcomes[0].epochs
    assert math.isnan(row.loss)
    assert row.images_per_second == math.inf


def test_parts_of_tensors_are_stored_as_what_they_show(tmp_path: Path) -> None:
    whole = torch.arange(12.0).view(3, 4)
    Checkpoint(tmp_path).save(_progress(), {"a": whole[:, 1], "b": whole.T})
    found = Checkpoint(tmp_path).load()
    assert found is not None
    assert torch.equal(found[1]["a"], whole[:, 1])
    assert torch.equal(found[1]["b"], whole.T)


def test_no_state_is_none(tmp_path: Path) -> None:
    assert Checkpoint(tmp_path).load() is None


def test_a_kill_while_writing_leaves_the_state_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Checkpoint(tmp_path).save(_progress(epochs=2), {})

    def killed(path: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        Checkpoint(tmp_path).save(_progress(epochs=3), {})
    found = Checkpoint(tmp_path).load()
    assert found is not None
    assert found[0].epochs == 2


def test_the_first_state_is_always_due(tmp_path: Path, clock: Clock) -> None:
    Checkpoint(tmp_path).save_when_due(_progress(), _tensors)
    assert Checkpoint(tmp_path).load() is not None


def test_writing_takes_a_tenth_of_the_time_at_most(tmp_path: Path, clock: Clock) -> None:
    kept = Checkpoint(tmp_path)
    kept.save_when_due(_progress(), _tensors)
    clock.now += 9.9
    kept.save_when_due(_progress(epochs=3), lambda: pytest.fail("nothing is due yet"))
    clock.now += 0.2
    kept.save_when_due(_progress(epochs=4), _tensors)
    found = kept.load()
    assert found is not None
    assert found[0].epochs == 4


def test_states_of_several_stacks_are_told_apart() -> None:
    states = [{"probe/a": torch.tensor(number)} for number in range(12)]
    together = stacks_state(states)
    assert [stack_state(together, number) for number in range(12)] == states

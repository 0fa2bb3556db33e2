"""What a run tells while it trains."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from configs.command_line import progress
from probe.outcome import EpochRow
from probe.run_display import RunDisplay

ROW = EpochRow("ep4", 1, 0.5, None, None, 80.0, 95.0, 1000.0)


def part(images: int) -> Any:
    """A pass of two epochs with batches of 8."""
    return SimpleNamespace(
        recipe=SimpleNamespace(epochs=2, batch_size=8), data=SimpleNamespace(train=range(images))
    )


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch) -> RunDisplay:
    monkeypatch.setattr(progress, "LOG_EVERY_SECONDS", -1.0)  # a line each time
    return RunDisplay(shown=True)


def test_it_counts_the_images_of_full_batches_in_all_passes(
    display: RunDisplay, capsys: pytest.CaptureFixture[str]
) -> None:
    display.begin_pass(1, [part(20), part(8)], 1)
    assert capsys.readouterr().err.startswith("pass 2/2  epoch 2/2: 40/48  ")


def test_a_run_of_one_pass_does_not_speak_of_passes(
    display: RunDisplay, capsys: pytest.CaptureFixture[str]
) -> None:
    display.begin_pass(0, [part(16)], 0)
    assert capsys.readouterr().err.startswith("epoch 1/2: 0/32  ")


def test_the_best_epoch_so_far_stays_in_view(display: RunDisplay, capsys: pytest.CaptureFixture[str]) -> None:
    display.begin_pass(0, [part(16)], 0)
    display.end_epoch(1, 2, [ROW, replace(ROW, trial="lp", top1=85.0)], ["ep4", "lp"])
    display.end_epoch(2, 2, [replace(ROW, epoch=2, top1=70.0)], ["ep4"])
    display.advance(8)
    assert "best lp 85.00" in capsys.readouterr().err.splitlines()[-1]


def test_held_out_images_decide_what_is_best(display: RunDisplay, capsys: pytest.CaptureFixture[str]) -> None:
    display.end_epoch(
        1, 2, [replace(ROW, held_out_top1=60.0), replace(ROW, trial="lp", held_out_top1=61.0)], ["ep4", "lp"]
    )
    assert display.note == "best lp 61.00"

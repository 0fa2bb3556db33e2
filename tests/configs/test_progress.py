"""Progress on a terminal, in a log, and none."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

import pytest

from configs.command_line import progress
from configs.command_line.progress import ProgressDisplay


class Terminal(io.StringIO):
    """Where people look."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Terminal]:
    """Makes standard error a terminal, when it is called: pytest sets its own before each test."""

    def begin() -> Terminal:
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "100")
        found = Terminal()
        monkeypatch.setattr(sys, "stderr", found)
        return found

    return begin


def test_a_terminal_gets_a_bar_with_counts_rate_note_and_what_is_said(
    on_terminal: Callable[[], Terminal],
) -> None:
    terminal = on_terminal()
    with ProgressDisplay("epoch 1/2", 3000, shown=True) as display:
        display.note = "best lp 97.50"
        display.advance(1200)
        display.say("epoch [1] is done")
    text = terminal.getvalue()
    for part in ("epoch 1/2", "1200/3000", "images/s", "best lp 97.50", " left", "epoch [1] is done"):
        assert part in text


def test_a_log_gets_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY_SECONDS", -1.0)  # always
    with ProgressDisplay("digits/train", 3000, shown=True) as display:
        display.advance(1200)
    printed, said = capsys.readouterr()
    assert printed == ""
    assert said.startswith("digits/train: 1,200/3,000  ")
    assert said.endswith(" left\n")
    assert "\x1b" not in said


def test_a_log_gets_no_line_before_it_is_time(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay("digits/train", 3000, shown=True) as display:
        display.advance(1200)
        display.say("said")
    assert capsys.readouterr() == ("", "said\n")


def test_nothing_is_shown_to_those_who_want_quiet(on_terminal: Callable[[], Terminal]) -> None:
    terminal = on_terminal()
    with ProgressDisplay("digits/train", 3000, shown=False) as display:
        display.advance(1200)
        display.say("said")
    assert terminal.getvalue() == ""
    assert display.images == 1200


def test_images_of_an_earlier_run_do_not_count_as_fast(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY_SECONDS", -1.0)
    with ProgressDisplay("epoch 5/9", shown=True) as display:
        display.stand_at(1000, 3000)
    assert capsys.readouterr().err == "epoch 5/9: 1,000/3,000  0 images/s\n"
    assert display.images == 0

"""The help of commands and verbs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
import tyro
from pydantic import Field, PositiveInt

from configs import FrozenModel, Headings, Known, Names, optional
from configs.command_line.arguments import arguments
from configs.command_line.help import options_help, verbs_help


class Fence(FrozenModel):
    """Paint a fence, all of its boards on both sides, in the colours that are asked for and no others.

    Boards that are wet
    wait.

    Examples:
      paint fence --colours red
      paint fence --coats 2
    """

    HEADINGS: ClassVar[Headings] = {"the paint": ("colours", "finish"), "the work": ("coats", "lost")}

    fence: Annotated[Path, tyro.conf.Positional] = Field(description="which fence")
    boards: Annotated[str, tyro.conf.arg(metavar="LIST")] = Field(description="which boards of it")
    coats: PositiveInt = Field(default=1, description="how many coats")
    colours: Annotated[Names, Known(lambda: ("red", "blue"))] = Field(default=("red",), description="which")
    finish: Literal["matt", "gloss"] | None = Field(default=None, description="without it, as it comes")
    width: Annotated[float | None, optional("CM")] = Field(default=None, description="of the brush")
    wet: bool = Field(default=False, description="paint in the rain")
    json_: Annotated[bool, tyro.conf.arg(name="json")] = Field(default=False, description="print JSON")


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines of a help on a terminal of 60 columns."""
    monkeypatch.setenv("COLUMNS", "60")
    return options_help("paint fence", Fence).splitlines()


def test_what_must_be_given_stands_in_the_usage(shown: list[str]) -> None:
    assert shown[0] == "usage: paint fence FENCE --boards LIST [OPTIONS]"


def test_options_stand_below_their_headings_in_the_headings_order_and_others_last(shown: list[str]) -> None:
    headings = [line for line in shown[6:] if line and not line.startswith(" ")]
    assert headings == ["arguments", "the paint", "the work", "options", "examples"]
    flags = [line.split()[0] for line in shown if line.startswith("  -")]
    assert flags == ["--colours", "--finish", "--coats", "--boards", "--width", "--wet", "--json", "-h,"]


def test_no_line_is_wider_than_the_terminal(shown: list[str]) -> None:
    assert max(map(len, shown)) <= 60


def test_examples_come_last_and_keep_their_lines(shown: list[str]) -> None:
    assert shown[-3:] == ["examples", "  paint fence --colours red", "  paint fence --coats 2"]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--colours NAME[,NAME…]", "(default: red)"),
        ("--coats INT", "how many coats (default: 1)"),
        ("--finish matt|gloss", "without it, as it comes"),
        ("--width CM", "of the brush"),
        ("--boards LIST", "which boards of it (required)"),
    ],
)
def test_an_option_shows_what_follows_it_and_its_default(shown: list[str], option: str, said: str) -> None:
    text = " ".join(" ".join(shown).split())
    assert option in text
    assert said in text.partition(option)[2]


def test_switches_have_no_value_and_no_default(shown: list[str]) -> None:
    assert "  --wet                   paint in the rain" in shown


def test_verbs_have_a_line_or_two_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    lines = verbs_help("paint", {"fence": Fence}).splitlines()
    assert lines[0] == "usage: paint VERB [OPTIONS]"
    assert lines[2] == "  fence  Paint a fence, all of its boards on both sides, in"
    assert lines[-1] == "`paint VERB --help` shows a verb's options and examples."


def test_names_that_are_known_are_no_closed_choice() -> None:
    known = {argument.field: argument for argument in arguments(Fence)}
    assert (known["colours"].values, known["colours"].closed) == (("red", "blue"), False)
    assert (known["finish"].values, known["finish"].closed) == (("matt", "gloss"), True)

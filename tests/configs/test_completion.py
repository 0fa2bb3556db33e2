"""Scripts that complete words in a shell. Those of shells that are not installed are only written."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, get_args

import pytest
import tyro
from pydantic import Field

from configs import FrozenModel, Known, Names
from configs.command_line.completion import Shell, completion_script


class Fence(FrozenModel):
    """Paint a fence; don't hurry."""

    colours: Annotated[Names, Known(lambda: ("red", "blue", "black"))] = Field(
        default=(), description="it's 'red'"
    )
    finish: Literal["matt", "gloss"] = Field(default="matt", description="of the paint")
    place: Path | None = Field(default=None, description="where")
    wet: bool = Field(default=False, description="in the rain")


class Look(FrozenModel):
    """Look at a colour."""

    colour: Annotated[tyro.conf.Positional[str], Known(lambda: ("red", "blue"))] = Field(description="which")


COMMANDS = {"paint": {"": Fence, "fence": Fence, "look": Look}, "clean": {"": Look}}

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


@pytest.fixture
def completed(tmp_path: Path) -> Callable[..., list[str]]:
    """What bash offers for the last of some words, as bash has cut them."""
    script = tmp_path / "completion.bash"
    script.write_text(completion_script("bash", COMMANDS))

    def complete(*words: str) -> list[str]:
        call = f"source {script}; COMP_CWORD={len(words) - 1}; "
        call += f"COMP_WORDS=({' '.join(map(shlex.quote, words))}); "
        call += "_frozen_tokens; printf '%s\\n' \"${COMPREPLY[@]}\""
        ended = subprocess.run(["bash", "-c", call], capture_output=True, text=True, check=True, cwd=tmp_path)
        assert ended.stderr == ""
        return ended.stdout.split()

    return complete


@needs_bash
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("paint|", ["fence", "look"]),
        ("paint|f", ["fence"]),
        ("paint|fence|--f", ["--finish"]),
        ("paint|--f", ["--finish"]),
        ("paint|fence|--finish|", ["matt", "gloss"]),
        ("paint|--finish|g", ["gloss"]),
        ("/usr/bin/paint|fence|--finish|g", ["gloss"]),
        ("paint|fence|--finish|=|g", ["gloss"]),
        ("paint|fence|--finish|=", ["matt", "gloss"]),
        ("paint|fence|--colours|bl", ["blue", "black"]),
        ("paint|fence|--colours|red,bla", ["red,black"]),
        ("paint|fence|--colours|red|bla", ["black"]),
        ("paint|fence|--finish|matt|", ["--colours", "--finish", "--place", "--wet", "--help"]),
        ("paint|fence|--place|x", []),
        ("paint|look|b", ["blue"]),
        ("clean|r", ["red"]),
        ("clean|--", ["--help"]),
    ],
)
def test_bash_offers_verbs_options_values_and_names(
    completed: Callable[..., list[str]], words: str, offered: list[str]
) -> None:
    assert completed(*words.split("|")) == offered


@pytest.mark.parametrize("shell", get_args(Shell))
def test_a_shell_can_read_its_script(shell: Shell, tmp_path: Path) -> None:
    script = tmp_path / "completion"
    script.write_text(completion_script(shell, COMMANDS))
    assert "--" in script.read_text() or "-l finish" in script.read_text()
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed: its syntax is not checked")
    subprocess.run([shell, "-n", script], check=True, timeout=60)


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
def test_fish_offers_the_values_of_an_option(tmp_path: Path) -> None:
    script = tmp_path / "completion.fish"
    script.write_text(completion_script("fish", COMMANDS))
    call = f"source {script}; complete -C 'paint fence --finish g'"
    ended = subprocess.run(["fish", "-c", call], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout.split("\t")[0] == "gloss"

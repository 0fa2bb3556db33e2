"""From words to options, and from errors to exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Self

import pytest
from pydantic import Field, PositiveInt, model_validator

from configs import FrozenModel, Names, Size, UserError, Verb, parse, run_command, run_verb


class Options(FrozenModel):
    """Paint a fence."""

    colours: Names = Field(default=("red", "blue"), description="which colours")
    coats: PositiveInt = Field(default=1, description="how many coats")
    width: float | None = Field(default=None, description="of the brush")
    fence: Path = Field(default=Path("fence"), description="which fence")
    finish: Literal["matt", "gloss"] = Field(default="matt", description="what it looks like")
    wet: bool = Field(default=False, description="paint in the rain")


def parsed(words: str) -> Options:
    return parse(Options, prog="paint", argv=words.split())


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[[str], tuple[object, str, str]]:
    """Parse words as a command does; its exit code, stdout and stderr."""

    def ended(words: str) -> tuple[object, str, str]:
        code: object
        try:
            code = run_command("paint", lambda: print(parsed(words)))
        except SystemExit as exited:
            code = exited.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return ended


def test_absent_options_have_their_defaults() -> None:
    assert parsed("") == Options()


def test_every_option_is_read() -> None:
    assert parsed("--coats 3 --width 2.5 --fence a/b --finish gloss --wet") == Options(
        coats=3, width=2.5, fence=Path("a/b"), finish="gloss", wet=True
    )


@pytest.mark.parametrize(
    "words",
    [
        "--colours green,pink,grey",
        "--colours green pink grey",
        "--colours green,pink grey",
        "--colours green, pink, grey",
        "--colours green,,pink,grey, --coats 1",
    ],
)
def test_a_list_may_have_commas_or_words(words: str) -> None:
    assert parsed(words).colours == ("green", "pink", "grey")


def test_a_list_of_one_is_a_list() -> None:
    assert parsed("--colours green").colours == ("green",)


def test_a_comma_in_brackets_is_part_of_a_value() -> None:
    trial = "ep8[lr=0.1,blocks=0+1,seed=0]"
    assert parsed(f"--colours lp,{trial},{trial},aim").colours == ("lp", trial, trial, "aim")


def test_an_option_without_values_is_an_empty_list() -> None:
    assert parsed("--colours --coats 2") == Options(colours=(), coats=2)


def test_options_after_a_list_are_not_taken_for_its_values() -> None:
    assert parsed("--colours green pink --finish gloss") == Options(colours=("green", "pink"), finish="gloss")


def test_a_value_out_of_range_is_a_user_error_that_names_the_option() -> None:
    with pytest.raises(UserError, match=r"coats: Input should be greater than 0 \(given: 0\)"):
        parsed("--coats 0")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--coats many", "--coats"),
        ("--finish satin", "--finish"),
        ("--coat 3", "--coat"),
        ("surplus", "surplus"),
        ("--coats 0", "coats"),
    ],
)
def test_words_that_cannot_be_read_are_named_and_end_with_exit_code_2(
    run: Callable[[str], tuple[object, str, str]], words: str, named: str
) -> None:
    code, printed, errors = run(words)
    assert (code, printed) == (2, "")
    assert named in errors


@pytest.mark.parametrize("words", ["--coats many", "--finish satin", "--coat 3", "surplus"])
def test_words_that_cannot_be_read_are_one_line(
    run: Callable[[str], tuple[object, str, str]], words: str
) -> None:
    _, _, errors = run(words)
    assert errors.startswith("paint: ")
    assert errors.count("\n") == 1


def test_help_says_what_the_command_and_its_options_do(
    run: Callable[[str], tuple[object, str, str]],
) -> None:
    code, printed, errors = run("--help")
    assert (code, errors) == (0, "")
    assert "Paint a fence." in printed
    assert "which colours" in printed
    assert "--colours NAME[,NAME…]" in printed


def test_a_command_that_returns_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("paint", lambda: None) == 0
    assert capsys.readouterr().err == ""


def test_bad_input_is_one_line_and_2(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse() -> None:
        raise UserError("no fence at hand: build one")

    assert run_command("paint", refuse) == 2
    assert capsys.readouterr() == ("", "paint: no fence at hand: build one\n")


def test_an_interruption_is_one_line_and_130(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    assert run_command("paint", interrupt) == 130
    assert capsys.readouterr() == ("", "paint: interrupted\n")


@pytest.mark.parametrize("said", ["interrupted", "interrupted: paint on"])
def test_a_verb_says_what_its_interruption_means(said: str, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(_: Options) -> None:
        raise KeyboardInterrupt

    verbs = {"fence": Verb(Options, interrupt, said)}
    assert run_command("paint", lambda: run_verb("paint", verbs, ["fence"])) == 130
    assert capsys.readouterr() == ("", f"paint: {said}\n")


def test_what_a_verb_says_as_it_is_interrupted_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(_: Options) -> None:
        raise KeyboardInterrupt("interrupted: two fences are painted")

    verbs = {"fence": Verb(Options, interrupt, "interrupted: paint on")}
    assert run_command("paint", lambda: run_verb("paint", verbs, ["fence"])) == 130
    assert capsys.readouterr() == ("", "paint: interrupted: two fences are painted\n")


def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_command("paint", fail)


class Agreeing(FrozenModel):
    """Options that must fit together."""

    first: int = 1
    last: int = 9

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.first > self.last:
            raise ValueError("--first is after --last: swap them")
        return self


def test_options_that_do_not_fit_together_are_refused_in_the_validators_own_words() -> None:
    with pytest.raises(UserError) as refused:
        parse(Agreeing, prog="p", argv=["--first", "10"])
    assert str(refused.value) == "--first is after --last: swap them"


class Sized(FrozenModel):
    """Options with a size."""

    memory: Size = Field(default=1)


@pytest.mark.parametrize(("text", "size"), [("8GiB", 8 * 2**30), ("1.5kB", 1500), ("77", 77)])
def test_sizes_have_units(text: str, size: int) -> None:
    found = parse(Sized, prog="p", argv=["--memory", text]).memory
    assert found == size
    assert type(found) is int


@pytest.mark.parametrize("text", ["much", "8 apples", "-5"])
def test_what_is_no_size_is_refused_in_a_line(text: str) -> None:
    with pytest.raises(UserError, match="memory: could not"):
        parse(Sized, prog="p", argv=[f"--memory={text}"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--coat 3", "unknown option '--coat'; did you mean --coats?"),
        ("--coat=3", "unknown option '--coat'; did you mean --coats?"),
        ("--finish glos", "unknown value of --finish 'glos'; did you mean gloss?"),
        ("--finish=glos", "unknown value of --finish 'glos'; did you mean gloss?"),
    ],
)
def test_misspelt_options_and_values_are_answered_with_the_nearest(words: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        parsed(words)
    assert str(refused.value) == f"{said}; see `paint --help`"


class Required(FrozenModel):
    """Options that must be given."""

    fence: Path
    brush: str
    coats: int = 1


@pytest.mark.parametrize(
    ("words", "said"), [("", "--fence, --brush are missing"), ("--fence a", "--brush is missing")]
)
def test_what_is_missing_is_named_and_no_more(words: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        parse(Required, prog="paint", argv=words.split())
    assert str(refused.value) == f"{said}; see `paint --help`"


def test_what_a_verb_exits_with_is_the_commands_exit_code() -> None:
    def damaged() -> None:
        raise SystemExit(1)

    assert run_command("paint", damaged) == 1


def test_an_interruption_while_a_command_is_imported_is_one_line_and_130(tmp_path: Path) -> None:
    (tmp_path / "slow_paint").mkdir()
    interrupted = (
        "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\nexcept BaseException:\n    pass\n"
    )
    (tmp_path / "slow_paint" / "command.py").write_text(interrupted)
    program = "from configs.command_line.entry import start; start('slow_paint')"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "slow_paint: interrupted\n")


def test_what_may_not_be_read_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    def refused() -> None:
        raise PermissionError(13, "Permission denied", "store/manifest.json")

    assert run_command("paint", refused) == 2
    assert capsys.readouterr().err == "paint: store/manifest.json: Permission denied\n"

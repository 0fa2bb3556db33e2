"""From typed options to a command: parsing, one-line errors and exit codes."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import tyro
from pydantic import AfterValidator, ByteSize

from configs.errors import UserError, unknown_name
from configs.schema import FrozenModel

OptionsT = TypeVar("OptionsT", bound=FrozenModel)
Item = TypeVar("Item", str, float, int)

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


def _comma_list(
    item: type[Item], metavar: str
) -> tyro.constructors.PrimitiveConstructorSpec[tuple[Item, ...]]:
    """Several values in one option: `--probe lp,ep32`, or `--probe lp ep32`."""
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs="*",
        metavar=f"{metavar}[,{metavar}…]",
        instance_from_str=lambda words: tuple(
            item(part) for word in words for part in word.split(",") if part
        ),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda values: [",".join(map(str, values)) or "none"],
    )


def optional(metavar: str) -> object:
    """Marks an option that may be absent; its description says what happens then."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="")


Names = Annotated[tuple[str, ...], _comma_list(str, "NAME")]
"""An option that takes several names."""


Floats = Annotated[tuple[float, ...], _comma_list(float, "NUMBER")]
"""An option that takes several numbers."""

Integers = Annotated[tuple[int, ...], _comma_list(int, "INT")]
"""An option that takes several whole numbers."""


Size = Annotated[
    ByteSize,
    AfterValidator(int),  # a plain number, which every file format can write
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="SIZE",
        instance_from_str=lambda words: words[0],  # pydantic reads it, and says what is wrong with it
        is_instance=lambda value: isinstance(value, int),
        str_from_instance=lambda value: [str(int(value))],
    ),
]
"""An option that takes a number of bytes, such as 8GiB."""


def parse(options_class: type[OptionsT], *, prog: str, argv: Sequence[str] | None = None) -> OptionsT:
    """Read the command line into `options_class`. Raises `UserError` in one line; exits on --help."""
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(
                options_class,
                prog=prog,
                args=argv,
                description=inspect.cleandoc(options_class.__doc__ or ""),
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit as ended:
        if ended.code:
            raise UserError(_unboxed(box.getvalue())) from None
        raise


@dataclass(frozen=True)
class Verb:
    """One thing that a command can do: its options, whose docstring is its help, and what runs."""

    options: type[FrozenModel]
    run: Callable[[Any], object]
    interrupted: str = "interrupted"
    """What is said after Ctrl-C."""


def run_verb(prog: str, verbs: Mapping[str, Verb], words: Sequence[str]) -> None:
    """Run the verb that `words` begin with, or print the help of all."""
    if not words:
        raise UserError(f"say what to do: {', '.join(verbs)}")
    name, *rest = words
    if name in ("-h", "--help"):
        print(f"usage: {prog} {{{','.join(verbs)}}} …\n")
        for known, verb in verbs.items():
            print(f"{prog} {known}: {inspect.cleandoc(verb.options.__doc__ or '')}\n")
        return
    if name not in verbs:
        raise unknown_name(f"verb of {prog}", name, verbs)
    verb = verbs[name]
    try:
        verb.run(parse(verb.options, prog=f"{prog} {name}", argv=rest))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(verb.interrupted) from None


def _unboxed(text: str) -> str:
    """tyro's framed message, whose parts are ruled off from one another, as one line."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    inside = "\n".join(line.strip("│ ") for line in lines if not line.startswith(("╭", "╰")))
    parts = [" ".join(part.split()) for part in re.split(r"─{3,}", inside)]
    return "; ".join(p for p in parts if not p.startswith("Argument helptext"))


def run_command(prog: str, command: Callable[[], None], *, interrupted: str = "interrupted") -> int:
    """Run a command and return its exit code: bad input is one line on stderr and 2.

    `interrupted` is said after Ctrl-C, with exit code 130, unless a verb says more.
    """
    try:
        command()
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output, `head` for one, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except UserError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt as error:
        print(f"{prog}: {str(error) or interrupted}", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0

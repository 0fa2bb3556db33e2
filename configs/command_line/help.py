"""The help of a command: what it does, its options below their headings, examples last."""

from __future__ import annotations

import inspect
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping

from configs.command_line.arguments import Argument, arguments, by_heading
from configs.schema import FrozenModel

WIDEST, NARROWEST = 100, 40
INDENT, COLUMN = 2, 26
"""Columns before an option, and before its description."""


def options_help(prog: str, options: type[FrozenModel]) -> str:
    """The whole help of a command or verb, as wide as the terminal."""
    width = _width()
    about, examples = _parts(options)
    lines = [_bold("usage: ") + _usage(prog, options), "", *_wrapped(about, width)]
    for heading, held in by_heading(options).items():
        lines += ["", _bold(heading)]
        lines += [line for argument in held for line in _row(argument.shown, _description(argument), width)]
    lines += _row("-h, --help", "show this help and exit", width)
    if examples:
        lines += ["", *_headed(examples)]
    return "\n".join(lines)


def verbs_help(prog: str, verbs: Mapping[str, type[FrozenModel]]) -> str:
    """A line for each verb."""
    width = _width()
    lines = [f"{_bold('usage:')} {prog} VERB [OPTIONS]", ""]
    column = max(map(len, verbs)) + INDENT + 2
    for name, options in verbs.items():
        first = _cleaned(options).split("\n\n")[0].replace("\n", " ")
        lines += _row(name, first, width, column)
    return "\n".join([*lines, "", f"`{prog} VERB --help` shows a verb's options and examples."])


def _width() -> int:
    return max(NARROWEST, min(WIDEST, shutil.get_terminal_size().columns))


def _bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if sys.stdout.isatty() else text


def _cleaned(options: type[FrozenModel]) -> str:
    return inspect.cleandoc(options.__doc__ or "")


def _parts(options: type[FrozenModel]) -> tuple[str, str]:
    """What stands before the examples, and they with all that follows them."""
    text = _cleaned(options)
    begin = re.search(r"^Examples?:", text, flags=re.MULTILINE)
    return (text, "") if begin is None else (text[: begin.start()].rstrip(), text[begin.start() :].rstrip())


def _usage(prog: str, options: type[FrozenModel]) -> str:
    needed = [argument for argument in arguments(options) if argument.required]
    places = [
        f"{a.metavar} …" if a.several or a.metavar.endswith("…]") else a.metavar for a in needed if not a.flag
    ]
    return " ".join([prog, *places, *(a.shown for a in needed if a.flag), "[OPTIONS]"])


def _wrapped(text: str, width: int) -> Iterator[str]:
    """Paragraphs filled; indented lines as they are."""
    for number, paragraph in enumerate(text.split("\n\n")):
        if number:
            yield ""
        if paragraph.startswith(" "):
            yield from paragraph.splitlines()
        else:
            yield from textwrap.wrap(paragraph, width)


def _headed(text: str) -> Iterator[str]:
    first, *others = text.splitlines()
    heading, _, rest = first.partition(":")
    yield _bold(heading.lower())
    if rest.strip():
        yield " " * INDENT + rest.strip()
    yield from others


def _description(argument: Argument) -> str:
    if argument.required and argument.flag:
        return f"{argument.description} (required)"
    return (
        f"{argument.description} (default: {argument.default})" if argument.default else argument.description
    )


def _row(name: str, description: str, width: int, column: int = COLUMN) -> list[str]:
    """The name, and its description beside it, or below it where the name is too long."""
    shown = " " * INDENT + name
    body = textwrap.wrap(description, width - column, break_on_hyphens=False) or [""]
    if len(shown) + 2 > column:
        return [shown, *(" " * column + line for line in body)]
    return [f"{shown:<{column}}{body[0]}".rstrip(), *(" " * column + line for line in body[1:])]

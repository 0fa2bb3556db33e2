"""From words to typed options, with one-line errors."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Sequence
from typing import TypeVar

import tyro

from configs.command_line.arguments import arguments, check_words, missing
from configs.command_line.help import options_help
from configs.errors import UserError
from configs.schema import FrozenModel

CONFIG = (tyro.conf.FlagCreatePairsOff, tyro.conf.PositionalMetavarFromFieldName)

OptionsT = TypeVar("OptionsT", bound=FrozenModel)


def parse(options_class: type[OptionsT], *, prog: str, argv: Sequence[str] | None = None) -> OptionsT:
    """Read the words into `options_class`. Raises `UserError` in one line; prints and exits on --help."""
    words = list(sys.argv[1:] if argv is None else argv)
    if {"-h", "--help"} & set(words):
        print(options_help(prog, options_class))
        raise SystemExit(0)
    known = arguments(options_class)
    try:
        check_words(known, words)
        absent = missing(known, words)
        if absent is not None:
            raise absent
    except UserError as error:
        raise UserError(f"{error}; see `{prog} --help`") from None
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(options_class, prog=prog, args=words, add_help=False, config=CONFIG)
    except SystemExit:
        raise UserError(_in_words(_unboxed(box.getvalue()), prog)) from None


def _in_words(text: str, prog: str) -> str:
    """tyro's message without the advice that ends it, and with ours."""
    said = re.sub(r"[;.]* *For full helptext.*", "", text)
    said = said.replace("Unrecognized options:", "surplus words:")
    said = re.sub(r"^Missing from [^:]*: (\S+) .*", r"\1 is missing", said)
    return f"{said}; see `{prog} --help`"


def _unboxed(text: str) -> str:
    """tyro's framed message, whose parts are ruled off from one another, as one line."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    inside = "\n".join(line.strip("│ ") for line in lines if not line.startswith(("╭", "╰")))
    parts = [" ".join(part.split()) for part in re.split(r"─{3,}", inside)]
    return "; ".join(p for p in parts if not p.startswith("Argument helptext"))

"""Commands that do several things: `cache info`, `probe fit`, …."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from configs.command_line.help import verbs_help
from configs.command_line.parsing import parse
from configs.errors import UserError, unknown_name
from configs.schema import FrozenModel


@dataclass(frozen=True)
class Verb:
    """One thing that a command can do: its options, whose docstring is its help, and what runs."""

    options: type[FrozenModel]
    run: Callable[[Any], object]
    interrupted: str = "interrupted"
    """What is said after Ctrl-C, unless `run` has said more by then: in a `KeyboardInterrupt` of its own."""


def run_verb(prog: str, verbs: Mapping[str, Verb], words: Sequence[str]) -> None:
    """Run the verb that `words` begin with, or print the help of all."""
    if not words:
        raise UserError(f"say what to do: {', '.join(verbs)}; see `{prog} --help`")
    name, *rest = words
    if name in ("-h", "--help"):
        print(verbs_help(prog, {known: verb.options for known, verb in verbs.items()}))
        return
    if name not in verbs:
        raise unknown_name(f"verb of {prog}", name, verbs)
    verb = verbs[name]
    try:
        verb.run(parse(verb.options, prog=f"{prog} {name}", argv=rest))
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(str(error) or verb.interrupted) from None

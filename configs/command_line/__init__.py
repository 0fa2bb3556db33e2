"""What every command shares: options, help, completion, progress, one-line errors and exit codes.

`option_types` are the kinds of option, `arguments` says how a class of options is written, `parsing` reads
words, `help` and `completion` show them, `verbs` and `running` run them. `progress` is imported by its users.
"""

from configs.command_line.arguments import Headings
from configs.command_line.option_types import Floats, Integers, Json, Known, Names, Quiet, Size, optional
from configs.command_line.parsing import parse
from configs.command_line.running import (
    EXIT_BAD_INPUT,
    EXIT_BROKEN_PIPE,
    EXIT_INTERRUPTED,
    end_at_once,
    run_command,
)
from configs.command_line.verbs import Verb, run_verb

__all__ = [
    "EXIT_BAD_INPUT",
    "EXIT_BROKEN_PIPE",
    "EXIT_INTERRUPTED",
    "Floats",
    "Headings",
    "Integers",
    "Json",
    "Known",
    "Names",
    "Quiet",
    "Size",
    "Verb",
    "end_at_once",
    "optional",
    "parse",
    "run_command",
    "run_verb",
]

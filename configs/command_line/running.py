"""From errors to exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import Event

from configs.errors import UserError

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


_at_once = Event()


def end_at_once() -> None:
    """Let the command that runs end as soon as all is said, without what libraries do at the end."""
    _at_once.set()


def run_command(prog: str, command: Callable[[], None], *, interrupted: str = "interrupted") -> int:
    """Run a command and return its exit code: bad input is one line on stderr and 2.

    `interrupted` is said after Ctrl-C, with exit code 130, unless a verb says more.
    """
    code = _answered(prog, command, interrupted)
    if _at_once.is_set():
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):  # nobody reads it any more
                stream.flush()
        os._exit(code)
    return code


def _answered(prog: str, command: Callable[[], None], interrupted: str) -> int:
    try:
        return _flushed(command)
    except BrokenPipeError:  # whoever read the output, `head` for one, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except UserError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt as error:
        print(f"{prog}: {str(error) or interrupted}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except PermissionError as error:
        print(f"{prog}: {error.filename}: {error.strerror}", file=sys.stderr)
        return EXIT_BAD_INPUT


def _flushed(command: Callable[[], None]) -> int:
    """Run it, and write out what it printed while a closed pipe can still be answered."""
    code = 0
    try:
        command()
    except SystemExit as ended:
        if not isinstance(ended.code, int | None):
            raise
        code = ended.code or 0
    sys.stdout.flush()
    return code

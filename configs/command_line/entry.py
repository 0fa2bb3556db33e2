"""Where the commands begin, before the rest is imported, which takes seconds: Ctrl-C is answered then too."""

from __future__ import annotations

import sys
from importlib import import_module

from configs.command_line.running import run_command


def start(command: str) -> None:
    """Run the command of the package of this name."""

    def imported() -> None:
        import_module(f"{command}.command").main()

    sys.exit(run_command(command, imported))


def extract() -> None:
    """`extract`."""
    start("extract")


def cache() -> None:
    """`cache`."""
    start("cache")


def probe() -> None:
    """`probe`."""
    start("probe")

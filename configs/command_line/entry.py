"""Where the commands begin, before the rest is imported, which takes seconds: Ctrl-C is answered then too."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module

from configs.command_line.running import EXIT_INTERRUPTED, run_command


def start(command: str) -> None:
    """Run the command of the package of this name."""

    def leave(*_: object) -> None:
        """Nothing is begun yet. An exception would strike within a library, which may take it for its own."""
        os.write(sys.stderr.fileno(), f"{command}: interrupted\n".encode())
        os._exit(EXIT_INTERRUPTED)

    def imported_and_run() -> None:
        usual = signal.getsignal(signal.SIGINT)
        if usual is not signal.SIG_IGN:  # as it is below nohup
            signal.signal(signal.SIGINT, leave)
        main = import_module(f"{command}.command").main
        signal.signal(signal.SIGINT, usual)
        main()

    code = run_command(command, imported_and_run)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is said and closed
    sys.exit(code)


def extract() -> None:
    """`extract`."""
    start("extract")


def cache() -> None:
    """`cache`."""
    start("cache")


def probe() -> None:
    """`probe`."""
    start("probe")

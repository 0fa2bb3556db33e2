"""Record what `make demo` prints as a picture: docs/demo.svg.

    python docs/record_demo.py

Runs both commands in a temporary folder. The lines of all epochs but the first and last are left out.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console

COMMANDS = (
    "extract --backbone mae_digits --dataset digits",
    "probe --cache cache/mae_digits --probe lp,ep16 --recipe fast",
)
KEPT_AT_EITHER_END = 2


def shortened(lines: list[str]) -> list[str]:
    """`lines` with the middle of the epochs left out."""
    epochs = [number for number, line in enumerate(lines) if line.startswith("epoch")]
    middle = epochs[KEPT_AT_EITHER_END:-KEPT_AT_EITHER_END]
    if not middle:
        return lines
    return [*lines[: middle[0]], "…", *lines[middle[-1] + 1 :]]


def main() -> None:
    console = Console(record=True, width=110, file=io.StringIO())
    with tempfile.TemporaryDirectory() as folder:
        for command in COMMANDS:
            program, *words = command.split()
            path = Path(sys.executable).with_name(program)
            done = subprocess.run(
                [path, *words],
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,  # notices and epochs, in their places
                text=True,
                check=True,
            )
            console.print(f"$ {command}", style="bold", highlight=False)
            for line in shortened(done.stdout.splitlines()):
                console.print(line, highlight=False, markup=False)
    console.save_svg(str(Path(__file__).with_name("demo.svg")), title="Frozen Tokens")


if __name__ == "__main__":
    main()

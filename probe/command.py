"""The command `probe`."""

from __future__ import annotations

import sys

from configs import parse, run_command, unknown_name
from probe.fit import run_fit
from probe.options import FitOptions

VERBS = ("fit",)


def probe(words: list[str]) -> None:
    """Run a verb; `probe --cache …` means `probe fit --cache …`."""
    if words and not words[0].startswith("-"):
        if words[0] not in VERBS:
            raise unknown_name("verb of probe", words[0], VERBS)
        words = words[1:]
    run_fit(parse(FitOptions, prog="probe", argv=words))


def main() -> None:
    """Entry point."""
    sys.exit(run_command("probe", lambda: probe(sys.argv[1:])))

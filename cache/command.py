"""The command `cache`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import Field

from cache.info import print_info, store_info
from cache.store import Store
from configs import FrozenModel, UserError, parse, run_command, unknown_name

VERBS = ("info",)


class InfoOptions(FrozenModel):
    """Show what a store holds: identity, splits, arrays, bytes, shards done, images per class.

    Example: cache info cache/mae_digits
    """

    path: Annotated[Path, tyro.conf.Positional] = Field(description="the store")
    json_: Annotated[bool, tyro.conf.arg(name="json")] = Field(
        default=False, description="print JSON, class counts included"
    )


def show_info(options: InfoOptions) -> None:
    """`cache info`."""
    info = store_info(Store(options.path))
    if options.json_:
        print(json.dumps(info, indent=1))
    else:
        print_info(info)


def cache(words: list[str]) -> None:
    """Run a verb."""
    if not words or words[0] in ("-h", "--help"):
        print(f"usage: cache {{{','.join(VERBS)}}} …\n\n{InfoOptions.__doc__}")
        if not words:
            raise UserError(f"say what to do: {', '.join(VERBS)}")
        return
    if words[0] not in VERBS:
        raise unknown_name("verb of cache", words[0], VERBS)
    show_info(parse(InfoOptions, prog="cache info", argv=words[1:]))


def main() -> None:
    """Entry point."""
    sys.exit(run_command("cache", lambda: cache(sys.argv[1:])))

"""The command `cache`."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from inspect import cleandoc
from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import Field, PositiveInt

from cache.info import print_info, store_info
from cache.store import Store
from cache.verify import verify_store
from configs import FrozenModel, UserError, parse, run_command, unknown_name

EXIT_DAMAGED = 1


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


class VerifyOptions(FrozenModel):
    """Check every byte of a store: records, indices, manifests. Names what is damaged; exit code 1 then.

    Example: cache verify cache/mae_digits
    """

    path: Annotated[Path, tyro.conf.Positional] = Field(description="the store")
    workers: PositiveInt = Field(default=os.cpu_count() or 1, description="threads that read and check")
    json_: Annotated[bool, tyro.conf.arg(name="json")] = Field(
        default=False, description="print damages as JSON"
    )


def show_verification(options: VerifyOptions) -> None:
    """`cache verify`."""
    started = time.perf_counter()
    sizes: list[int] = []
    damages = list(verify_store(Store(options.path), options.workers, sizes.append))
    if options.json_:
        print(json.dumps([{"path": str(d.path), "what": d.what} for d in damages], indent=1))
    else:
        for damage in damages:
            print(f"{damage.path}: {damage.what}")
        seconds = time.perf_counter() - started
        found = f"{len(damages)} damaged file(s)" if damages else "no damage"
        print(f"{options.path}: {found}; {sum(sizes) / 1e6:,.1f} MB checked in {seconds:.1f} s")
    if damages:
        raise SystemExit(EXIT_DAMAGED)


def cache(words: list[str]) -> None:
    """Run a verb."""
    if words and words[0] in ("-h", "--help"):
        print(f"usage: cache {{{','.join(VERBS)}}} PATH …\n")
        for verb, (options, _) in VERBS.items():
            print(f"cache {verb}: {cleandoc(options.__doc__ or '')}\n")
        return
    if not words:
        raise UserError(f"say what to do: {', '.join(VERBS)}")
    if words[0] not in VERBS:
        raise unknown_name("verb of cache", words[0], VERBS)
    options_class, run = VERBS[words[0]]
    run(parse(options_class, prog=f"cache {words[0]}", argv=words[1:]))


VERBS: dict[str, tuple[type[FrozenModel], Callable[[Any], None]]] = {
    "info": (InfoOptions, show_info),
    "verify": (VerifyOptions, show_verification),
}


def main() -> None:
    """Entry point."""
    sys.exit(run_command("cache", lambda: cache(sys.argv[1:])))

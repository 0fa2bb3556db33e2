"""The command `cache`."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import Field, PositiveInt

from cache.derive import derive_store
from cache.derive_options import DeriveOptions
from cache.info import print_info, store_info
from cache.remove import RemoveOptions, remove
from cache.store import Store
from cache.verify import verify_store
from cache.write_errors import INTERRUPTED
from configs import FrozenModel, Json, Verb, run_command, run_verb

EXIT_DAMAGED = 1
VERB_ENTRY_POINTS = "frozen_tokens.cache_verbs"


class InfoOptions(FrozenModel):
    """Show what a store holds: identity, splits, arrays, bytes, shards done, images per class.

    Example: cache info cache/mae_digits
    """

    path: Annotated[Path, tyro.conf.Positional] = Field(description="the store")
    json_: Json = False


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
    json_: Json = False


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
        if not damages:  # of damaged manifests nothing can be counted
            for name, stored, shards in _unfinished(options.path):
                print(f"{name}: {stored} of {shards} shards are stored: the command that made it goes on")
    if damages:
        raise SystemExit(EXIT_DAMAGED)


def _unfinished(path: Path) -> Iterator[tuple[str, int, int]]:
    """Splits that lack shards: their names, and how many are stored of how many."""
    store = Store(path)
    for dataset, splits in store.splits().items():
        for split in splits:
            reader = store.split(dataset, split)
            stored, shards = len(reader.stored_shards()), reader.manifest.shards
            if stored < shards:
                yield reader.name, stored, shards


def verbs() -> dict[str, Verb]:
    """Every verb by name: this package's own, then those that other packages add as entry points.

    `repair` and `plan` need a backbone, which this package knows nothing of.
    """
    added = {point.name: point.load() for point in entry_points(group=VERB_ENTRY_POINTS)}
    return OWN_VERBS | added


def cache(words: list[str]) -> None:
    """Run a verb; other packages, slow to import, are asked only when it is not one of ours."""
    own = bool(words) and words[0] in OWN_VERBS
    run_verb("cache", OWN_VERBS if own else verbs(), words)


OWN_VERBS = {
    "info": Verb(InfoOptions, show_info),
    "verify": Verb(VerifyOptions, show_verification),
    "derive": Verb(DeriveOptions, derive_store, INTERRUPTED),
    "rm": Verb(RemoveOptions, remove),
}


def main() -> None:
    """Entry point."""
    sys.exit(run_command("cache", lambda: cache(sys.argv[1:])))

"""Making a new store from one that is there: shard after shard, without the backbone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from cache.derive_options import DeriveOptions
from cache.derive_plan import SplitPlan, plan_splits, plan_store
from cache.derived_tokens import write_tokens
from cache.disk_space import free_bytes, missing_bytes, require_space
from cache.info import split_info
from cache.shard_writer import ShardWriter
from cache.split_reader import SplitReader
from cache.store import Store, create_store, open_split_writer
from configs import UserError

BATCH_BYTES = 64 * 2**20
"""What the largest array of a batch may take in float32."""

STORE_LESS = "free some, or store less (--dtype, --keep, --blocks, --fraction, --pool)"
"""What to do about a disk that is too small."""


def derive_store(options: DeriveOptions) -> None:
    """`cache derive`: derive every split asked for, and say what is stored where."""
    source = Store(options.source)
    _refuse_nested(options.source, options.out)
    planned = plan_store(source.manifest, options)
    plans = plan_splits(source, planned, options)
    missing = sum(missing_bytes(options.out, plan.manifest) for plan in plans)
    require_space(options.out, missing, free_bytes(options.out), STORE_LESS)
    create_store(options.out, planned, source.final_norm)
    for plan in plans:
        started = time.perf_counter()
        written = derive_split(plan, options.out)
        split = SplitReader(plan.manifest.folder(options.out))
        print(_summary(split, written, time.perf_counter() - started))


def _refuse_nested(source: Path, out: Path) -> None:
    old, new = source.resolve(), out.resolve()
    if old in (new, *new.parents):
        raise UserError(f"{out} is {source} itself, or inside it: give the new store a folder of its own")


def derive_split(plan: SplitPlan, store: Path) -> int:
    """Write every shard of the split that is not whole yet. Returns the bytes of their records."""
    console = Console(stderr=True)
    with (
        open_split_writer(store, plan.manifest) as split,
        Progress(console=console, disable=not console.is_terminal, transient=True) as progress,
    ):
        unfinished = split.unfinished()
        records = sum(map(plan.manifest.shard_records, unfinished))
        task = progress.add_task(plan.source.name, total=records)
        for number in unfinished:
            _write_shard(plan, split.begin(number), lambda records: progress.advance(task, records))
    return records * plan.manifest.record_bytes


def _write_shard(plan: SplitPlan, shard: ShardWriter, on_records: Callable[[int], None]) -> None:
    """Write a shard batch by batch; `on_records` is told of the records of each."""
    plan = replace(plan, source=SplitReader(plan.source.folder))  # its maps end with the shard
    subset, rows = plan.subset, _batch_rows(plan.source)
    try:
        for first in range(0, shard.records, rows):
            positions = np.arange(shard.first + first, shard.first + min(first + rows, shard.records))
            write_tokens(plan, shard, first, positions)
            shard.write("labels", first, subset.labels[positions])
            shard.write("sample_id", first, subset.sample_id[positions])
            for position in subset.skipped.keys() & set(positions.tolist()):
                shard.skip(position - shard.first, subset.skipped[position])
            on_records(len(positions))
        shard.commit()
    except BaseException:
        shard.abort()
        raise


def _batch_rows(source: SplitReader) -> int:
    """Records in a batch."""
    values = max(array.runs * math.prod(array.record_shape) for array in source.manifest.arrays)
    return max(1, BATCH_BYTES // (4 * values))


def _summary(split: SplitReader, written: int, seconds: float) -> str:
    """One line: what is stored, where, and what this run did."""
    info = split_info(split)
    readable = f"{split.manifest.records - info['left_out']:,} records"
    left_out = f", {info['left_out']} left out (unreadable)" if info["left_out"] else ""
    rate = f"{written / seconds / 1e6:,.1f} MB/s" if written else "was complete"
    return (
        f"{split.folder}: {readable}{left_out}, {_largest_arrays(split)}, "
        f"{info['bytes'] / 1e6:,.1f} MB of {split.manifest.format}, {rate}"
    )


def _largest_arrays(split: SplitReader) -> str:
    """The first array of every block, which is its largest."""
    shown = []
    for block in split.manifest.blocks:
        array = next(a for a in split.manifest.arrays if a.name.startswith(f"block{block}/"))
        shown.append(f"{array.name} {'×'.join(map(str, array.record_shape))} {array.dtype}")
    return ", ".join(shown) if len(shown) < 4 else f"{shown[0]} … {shown[-1]}"

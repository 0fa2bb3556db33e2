"""Asking the kernel to read ahead."""

from __future__ import annotations

import contextlib
import os
import threading
from itertools import product

from cache.dataset import TokenDataset
from configs import UserError


def prefetch_in_background(dataset: TokenDataset) -> None:
    """`prefetch` in a thread. What fails is left to the reading itself, which says so."""

    def quietly() -> None:
        with contextlib.suppress(OSError, UserError):
            prefetch(dataset)

    threading.Thread(target=quietly, name="token-prefetch", daemon=True).start()


def prefetch(dataset: TokenDataset) -> None:
    """Bring what is read of every shard into the page cache, from the first shard to the last.

    In sequence this takes a fraction of the time that the first epoch's reads at random would take. What is
    there already costs nothing.
    """
    split = dataset.split
    for shard in split.stored_shards():
        records = split.manifest.shard_records(shard)
        for spec, view in product(dataset.arrays.values(), dataset.views):
            extent = split.extent(spec.name, shard, view)
            file = os.open(extent.path, os.O_RDONLY)
            try:
                os.posix_fadvise(file, extent.offset, records * spec.record_bytes, os.POSIX_FADV_WILLNEED)
            finally:
                os.close(file)

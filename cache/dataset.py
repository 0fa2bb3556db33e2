"""One block of one split as a map-style data set."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import cast

import numpy as np
import torch

from cache.arrays import ArraySpec, array_name, scale_name
from cache.batch import TokenArray, TokenBatch
from cache.split_reader import SplitReader
from configs import UserError


class TokenDataset(torch.utils.data.Dataset[TokenBatch]):
    """Readable records of a split, one block of them, and one view or, with `view` None, all.

    Items are the records of the first view, then those of the next. `TokenLoader` can draw one view of each.

    Works with the stock `torch.utils.data.DataLoader`, its workers and samplers; a whole batch is gathered
    at once, so pass `collate_fn=TokenDataset.collate`. `TokenLoader` is the faster way. With `verify`,
    each record is checked as it is read, and damage raises `UserError`. `keep`, (n,) bool over the split's
    records, leaves the others out.
    """

    def __init__(
        self,
        split: SplitReader,
        block: int,
        arrays: Collection[TokenArray],
        view: int | None = 0,
        *,
        verify: bool = False,
        keep: np.ndarray | None = None,
    ) -> None:
        split.require_complete()
        self.split = split
        self.views = range(split.manifest.views) if view is None else range(view, view + 1)
        """The views that the items are of."""
        self.verify = verify
        self.arrays = _specs(split, block, arrays)
        """What is read: the arrays asked for, and the scales of those in int8."""
        for spec in self.arrays.values():
            split.shard(spec.name, 0, self.views[-1])  # what is not there is refused now, not in a batch
        labels = split.whole("labels")
        if verify:
            split.require_sound("labels", np.arange(len(labels)), labels)
        records = np.flatnonzero((labels >= 0) if keep is None else (labels >= 0) & keep)
        self.records = np.tile(records, len(self.views))
        """Position in the split of every item; records whose image could not be read are left out."""
        self.item_views = np.repeat(np.array(self.views), len(records))
        """The view of every item."""
        if not len(records):
            raise UserError(f"{split.name} holds no readable image: all {len(labels):,} were left out")
        self.labels = labels[self.records]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, item: int) -> TokenBatch:
        return self.__getitems__([item])

    def __getitems__(self, items: Sequence[int]) -> TokenBatch:
        chosen = np.asarray(items, dtype=np.int64)
        buffers = {
            kind: np.empty((len(chosen), *spec.record_shape), spec.storage_dtype)
            for kind, spec in self.arrays.items()
        }
        return self.gather(chosen, buffers)

    @property
    def record_bytes(self) -> int:
        """Bytes that are read for one item."""
        return sum(spec.record_bytes for spec in self.arrays.values())

    @property
    def shards(self) -> np.ndarray:
        """The shard of every item."""
        return self.records // self.split.manifest.shard_size

    def gather(self, items: np.ndarray, buffers: dict[TokenArray, np.ndarray]) -> TokenBatch:
        """Read `items`, from anywhere, into `buffers`; the batch's tensors share their memory."""
        self.fill(items, buffers, slice(None))
        return self.batch(items, buffers)

    def fill(self, items: np.ndarray, buffers: dict[TokenArray, np.ndarray], part: slice) -> None:
        """Read a part of `items` into the same rows of `buffers`."""
        records, views = self.records[items[part]], self.item_views[items[part]]
        for kind, spec in self.arrays.items():
            self.split.gather(spec.name, records, buffers[kind][part], views)

    def batch(self, items: np.ndarray, buffers: dict[TokenArray, np.ndarray]) -> TokenBatch:
        """The batch of `items`, whose stored values `buffers` hold; checks them where that is asked for."""
        records = self.records[items]
        if self.verify:
            for kind, spec in self.arrays.items():
                self.split.require_sound(spec.name, records, buffers[kind], self.item_views[items])
        return TokenBatch(
            labels=torch.from_numpy(self.labels[items]),
            index=torch.from_numpy(records),
            **{kind: spec.as_tensor(buffers[kind]) for kind, spec in self.arrays.items()},
        )

    @staticmethod
    def collate(batch: TokenBatch) -> TokenBatch:
        """Batches are gathered whole: nothing is left to collate."""
        return batch


def _specs(split: SplitReader, block: int, arrays: Collection[TokenArray]) -> dict[TokenArray, ArraySpec]:
    specs: dict[TokenArray, ArraySpec] = {}
    for kind in arrays:
        specs[kind] = split.manifest.array(_held(split, block, kind))
        if specs[kind].dtype == "int8":
            scales = cast(TokenArray, scale_name(kind))
            specs[scales] = split.manifest.array(scale_name(specs[kind].name))
    return specs


def _held(split: SplitReader, block: int, kind: TokenArray) -> str:
    name = array_name(block, kind)
    if name in {spec.name for spec in split.manifest.arrays}:
        return name
    blocks = split.manifest.blocks
    if block not in blocks:
        raise UserError(
            f"{split.name} in {split.folder.parent.parent} holds block {', '.join(map(str, blocks))}, "
            f"not block {block}: extract or derive it with --blocks, into another store"
        )
    reasons: dict[str, str] = {
        "patches": "the store was derived without them",
        "prefix": "its backbone has no [CLS] or other prefix tokens (or the store was derived without "
        "them): probe the patches or their mean",
        "mean": "the store was derived without it",
        "mean_normed": "its backbone has no final norm (or the store was derived without it): "
        "use --tokens pre",
    }
    raise UserError(f"{split.name} holds no {kind} of block {block}; {reasons[kind]}")

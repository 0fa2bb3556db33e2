"""The fast path from a store to a probe: batches made ahead, in threads, from wherever the tokens are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict
from functools import cached_property, partial
from itertools import pairwise

import numpy as np
import torch
from rich.filesize import decimal

from cache.batch import TokenBatch
from cache.batch_buffers import BatchBuffers
from cache.batching import Batching
from cache.dataset import TokenDataset
from cache.device import same_device
from cache.device_copies import copied_ahead
from cache.epoch_order import drawn_views, global_order
from cache.free_memory import free_host_memory
from cache.page_cache import prefetch_in_background
from cache.read_ahead import copying_threads, iterate_ahead, map_ahead
from cache.residency import Residency, choose_residency
from cache.resident import ResidentTokens
from cache.stream_plan import StreamLayout, stream_layout, streamed_batches
from cache.streamed import streamed
from configs import UserError


class TokenLoader:
    """Batches of a `TokenDataset` on `device`, in an order that (seed, epoch) decides.

    Iterating gives the epoch set by `set_epoch` (0 at first). Shuffling is global on the device and in host
    memory, and within a window when streaming. Of `processes` that read together, each gets its share of
    every batch of `batch_size`: none twice, none left out. `state_dict` after any batch, given to
    `load_state_dict`, goes on with the next one.

    With `draw_views` an epoch gives every record once, in a view that (seed, epoch, record) decide, of those
    that the data set has.

    Raises `UserError` where the memory for streaming does not suffice.
    """

    def __init__(
        self,
        dataset: TokenDataset,
        batch_size: int,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        device: torch.device | None = None,
        residency: Residency | None = None,
        process: int = 0,
        processes: int = 1,
        draw_views: bool = False,
    ) -> None:
        if batch_size < 1:
            raise UserError(f"a batch holds one record or more, not {batch_size}")
        self.dataset = dataset
        self.draw_views = draw_views
        self.items = len(dataset) // len(dataset.views) if draw_views else len(dataset)
        """Of an epoch."""
        self.batch_size = min(batch_size, self.items)
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = seed
        self.device = device or torch.device("cpu")
        self.residency = residency or choose_residency([dataset], self.device)
        self._batching = Batching(self.batch_size, drop_last, process, processes)
        self._epoch = self._given = self._first = 0
        own = self._batching.own_batch_size
        self._buffers = BatchBuffers(dataset, own, pinned=self.device.type == "cuda")
        self._prefetched = False
        self._layout: StreamLayout | None = None
        if self.residency.tier == "stream":
            self._layout = stream_layout(dataset.record_bytes, own, self.residency.memory)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self._batching.count(self.items)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration."""
        self._epoch, self._first = epoch, 0

    def state_dict(self) -> dict[str, int]:
        """Where the iteration is: its epoch, the batches it has given, and what decides their order."""
        return {"epoch": self._epoch, "batch": self._given, **self._identity()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next iteration go on from `state`. Raises `UserError` for one of another order."""
        for name, value in self._identity().items():
            if state[name] != value:
                raise UserError(f"the batches cannot go on: {name} was {state[name]} and is {value} now")
        self._epoch, self._first = state["epoch"], state["batch"]

    def _identity(self) -> dict[str, int]:
        return {
            "items": self.items,
            "draw_views": int(self.draw_views),
            "seed": self.seed,
            "shuffle": int(self.shuffle),
            "window": self.window,
            **asdict(self._batching),
        }

    @property
    def window(self) -> int:
        """Records that a shuffled batch is drawn from: all of them, unless streaming."""
        if self._layout is None or self.items <= self._layout.slots:
            return self.items
        return self._layout.window

    def describe(self) -> str:
        """Where the tokens are, in a line."""
        size = f"{decimal(len(self.dataset) * self.dataset.record_bytes)} of tokens"
        if self.draw_views:
            size += f" ({len(self.dataset.views)} views, one drawn for each image in an epoch)"
        if self.residency.tier == "device":
            return f"{size} on {self.device}"
        if self.residency.tier == "host":
            return f"{size} in host memory (mapped, kept by the page cache)"
        budget = decimal(self.residency.memory)
        mixed = f", mixed over about {self.window:,} of {self.items:,} records" if self.shuffle else ""
        return f"{size} streamed from disk through {budget} of memory{mixed}"

    def __iter__(self) -> Iterator[TokenBatch]:
        first, self._first = self._first, 0
        self._given = first
        batches = self._from_tier(first)
        if self.device.type == "cuda" and self.residency.tier != "device":
            batches = copied_ahead(batches, self.device)
        for batch in batches:
            self._given += 1
            yield batch if same_device(batch.labels.device, self.device) else batch.to(self.device)

    def _from_tier(self, first: int) -> Iterator[TokenBatch]:
        items = self._epoch_items()
        if self._layout is not None:
            plan = streamed_batches(
                self.dataset,
                items,
                self._batching,
                self._layout,
                shuffle=self.shuffle,
                seed=self.seed,
                epoch=self._epoch,
                first=first,
            )
            return iterate_ahead(streamed(self.dataset, plan, self._layout.slots, self._buffers))
        order = items[global_order(len(items), shuffle=self.shuffle, seed=self.seed, epoch=self._epoch)]
        batches = self._batching.batches(order)[first:]
        if self.residency.tier == "host":
            self._prefetch_once()
            return self._mapped(batches)
        if self.device.type == "cpu":
            return map_ahead(self._copied, batches)
        return self._resident.select(batches)

    def _epoch_items(self) -> np.ndarray:
        """The epoch before it is shuffled; where views are drawn, an item of each record, in their order."""
        items = np.arange(self.items)
        if not self.draw_views:
            return items
        records, views = self.dataset.split.manifest.records, len(self.dataset.views)
        drawn = drawn_views(records, views, seed=self.seed, epoch=self._epoch)
        items += self.items * drawn[self.dataset.records[: self.items]]
        return items

    def _prefetch_once(self) -> None:
        if not self._prefetched and self.dataset.record_bytes * len(self.dataset) <= free_host_memory():
            prefetch_in_background(self.dataset)
        self._prefetched = True

    @cached_property
    def _resident(self) -> ResidentTokens:
        return ResidentTokens(self.dataset, self.device)

    def _mapped(self, batches: Sequence[np.ndarray]) -> Iterator[TokenBatch]:
        """From the maps of the files. Where one thread would keep a GPU waiting, several share each."""
        threads = copying_threads(self.device)
        if threads == 1:
            yield from map_ahead(self._gathered, batches)
            return
        with ThreadPoolExecutor(threads, "token-copier") as copiers:
            yield from map_ahead(partial(self._gathered_by, copiers, threads), batches)

    def _gathered(self, items: np.ndarray) -> TokenBatch:
        return self.dataset.gather(items, self._buffers.take(len(items)))

    def _gathered_by(self, copiers: Executor, threads: int, items: np.ndarray) -> TokenBatch:
        buffers = self._buffers.take(len(items))
        edges = np.linspace(0, len(items), threads + 1).astype(int).tolist()
        rows = (slice(first, last) for first, last in pairwise(edges))
        for _ in copiers.map(lambda part: self.dataset.fill(items, buffers, part), rows):
            pass
        return self.dataset.batch(items, buffers)

    def _copied(self, items: np.ndarray) -> TokenBatch:
        return self._resident.gather(items, self._buffers.take(len(items)))

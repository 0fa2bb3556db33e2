"""Batches of one or several blocks of a split, record for record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from cache import Residency, TokenBatch, TokenDataset, TokenLoader, launch
from configs import UserError


class SplitBatches:
    """What `TokenLoader` gives, of every block at once: tuples of batches of the same images.

    Of several processes, each gets its share of every batch where they are `shared_out`. Raises `UserError`
    for blocks that streaming would mix each in its own way.
    """

    def __init__(
        self,
        blocks: Sequence[TokenDataset],
        batch_size: int,
        *,
        residency: Residency,
        device: torch.device,
        seed: int = 0,
        training: bool = False,
        shared_out: bool = True,
        draw_views: bool = False,
    ) -> None:
        if residency.tier == "stream" and len({block.record_bytes for block in blocks}) > 1:
            raise UserError("--combine: blocks of different widths cannot be streamed: use --tier host")
        self.records = blocks[0].split.manifest.records
        """Records of the split, whether they are given or not."""
        processes = launch()
        place = (processes.process_index, processes.num_processes) if shared_out else (0, 1)
        self._loaders = [
            TokenLoader(
                block,
                batch_size,
                shuffle=training,
                drop_last=training,
                seed=seed,
                device=device,
                residency=Residency(residency.tier, residency.memory // len(blocks)),
                process=place[0],
                processes=place[1],
                draw_views=draw_views,
            )
            for block in blocks
        ]

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._loaders[0])

    @property
    def batch_size(self) -> int:
        """Images of a batch, in all processes; when training each batch has so many."""
        return self._loaders[0].batch_size

    def epoch(self, number: int) -> SplitBatches:
        """The same batches, in the order of an epoch."""
        for loader in self._loaders:
            loader.set_epoch(number)
        return self

    def describe(self) -> str:
        """Where the tokens are, in a line."""
        several = f" (each of {len(self._loaders)} blocks)" if len(self._loaders) > 1 else ""
        return self._loaders[0].describe() + several

    def __iter__(self) -> Iterator[tuple[TokenBatch, ...]]:
        return zip(*self._loaders, strict=True)

"""A split held whole, on the device or in this process's memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np
import torch

from cache.batch import TokenArray, TokenBatch
from cache.dataset import TokenDataset
from cache.rows import copy_rows
from cache.stream_plan import READ_BYTES, READS_IN_FLIGHT, runs_of_items


def _gathered(kind: TokenArray) -> Any:
    return cached_property(lambda batch: batch.gather(kind))


class ResidentBatch(TokenBatch):
    """A batch of tokens that lie on the device whole: `items` (B,) of the `resident` arrays.

    An array is gathered when it is first asked for, by who cannot read it where it is. `kept` is for what
    others compute of all resident tokens, once for all batches. A copy (pickle, `copy.deepcopy`) takes all of
    them along; `to` gives an ordinary batch.
    """

    resident: Mapping[TokenArray, torch.Tensor]
    items: torch.Tensor
    kept: dict[str, torch.Tensor]

    def __init__(
        self,
        labels: torch.Tensor,
        index: torch.Tensor,
        resident: Mapping[TokenArray, torch.Tensor],
        items: torch.Tensor,
        kept: dict[str, torch.Tensor],
    ) -> None:
        self.__dict__.update(labels=labels, index=index, resident=resident, items=items, kept=kept)

    patches = _gathered("patches")
    prefix = _gathered("prefix")
    mean = _gathered("mean")
    mean_normed = _gathered("mean_normed")
    patches_scale = _gathered("patches_scale")

    def gather(self, kind: TokenArray) -> torch.Tensor | None:
        """An array of the batch's own, or None where it was not asked for."""
        return self.resident[kind][self.items] if kind in self.resident else None


class ResidentTokens:
    """Every item of a data set on `device`, read once."""

    def __init__(self, dataset: TokenDataset, device: torch.device) -> None:
        self._dataset = dataset
        self._tensors: dict[TokenArray, torch.Tensor] = {
            kind: torch.empty(
                (len(dataset), *spec.record_shape),
                dtype=spec.as_tensor(np.empty(0, spec.storage_dtype)).dtype,
                device=device,
            )
            for kind, spec in dataset.arrays.items()
        }
        self._kept: dict[str, torch.Tensor] = {}
        self._labels = torch.from_numpy(dataset.labels).to(device)
        self._index = torch.from_numpy(dataset.records).to(device)
        most = max(1, READ_BYTES // dataset.record_bytes)
        with ThreadPoolExecutor(READS_IN_FLIGHT, "token-loader") as threads:
            runs = runs_of_items(dataset, np.arange(len(dataset)), most)
            for _ in threads.map(self._load, runs):
                pass

    def _load(self, run: slice) -> None:
        """Read consecutive items and put them in their place."""
        items = np.arange(run.start, run.stop)
        buffers = {
            kind: np.empty((len(items), *spec.record_shape), spec.storage_dtype)
            for kind, spec in self._dataset.arrays.items()
        }
        first, view = int(self._dataset.records[run.start]), int(self._dataset.item_views[run.start])
        for kind, spec in self._dataset.arrays.items():
            rows = [buffers[kind].data.cast("B")]
            self._dataset.split.read(spec.name, first, rows, view)
        batch = self._dataset.batch(items, buffers)
        for kind, tensor in self._tensors.items():
            tensor[run].copy_(getattr(batch, kind))

    def gather(self, items: np.ndarray, buffers: dict[TokenArray, np.ndarray]) -> TokenBatch:
        """The batch of `items`, copied into `buffers`; for tokens in this process's memory."""
        for kind, tensor in self._tensors.items():
            copy_rows(tensor.view(torch.uint8).numpy(), items, buffers[kind].view(np.uint8))
        return self._dataset.batch(items, buffers)

    def select(self, batches: Sequence[np.ndarray]) -> Iterator[TokenBatch]:
        """The batches of items, made on the device.

        Their numbers are copied there at once: for each copy the host would wait until all steps are done.
        """
        sizes = [len(items) for items in batches]
        order = torch.from_numpy(np.concatenate([np.empty(0, np.int64), *batches])).to(self._labels.device)
        return map(self._batch, order.split(sizes))

    def _batch(self, items: torch.Tensor) -> ResidentBatch:
        return ResidentBatch(self._labels[items], self._index[items], self._tensors, items, self._kept)

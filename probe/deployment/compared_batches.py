"""Batches of the same images' tokens, from the store and from the backbone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast, get_args

import numpy as np
import torch

from cache import ArraySpec, SplitReader, TokenArray, decode, scale_name
from configs import UserError
from extract.backbone import Backbone
from extract.image_loader import ImageBatch, load_images
from extract.image_views import split_views
from extract.sources import ImageSource
from probe.deployment.live_tokens import live_batch


@dataclass(frozen=True)
class ComparedBatch:
    """B images in one view: array name → values (B, …) float32 on the CPU."""

    view: int
    samples: list[int]
    """Positions in the source."""
    labels: torch.Tensor
    stored: dict[str, torch.Tensor]
    computed: dict[str, torch.Tensor]


class ComparedBatches:
    """`records` of a split, in every view, decoded again from `source`."""

    def __init__(
        self,
        split: SplitReader,
        source: ImageSource,
        backbone: Backbone,
        records: np.ndarray,
        *,
        batch_size: int,
        workers: int,
    ) -> None:
        self._split, self._source, self._backbone = split, source, backbone
        self._records = records
        self._batch_size, self._workers = batch_size, workers
        self._sample_id = split.whole("sample_id")[records]
        self._labels = split.whole("labels")[records]
        self.arrays = _token_arrays(split)
        """What is compared: every array of tokens but the scales of int8."""

    def __iter__(self) -> Iterator[ComparedBatch]:
        """Raises `UserError` where a record is damaged, or an image can no longer be read."""
        places = range(len(self._records))
        batches = [places[start : start + self._batch_size] for start in places[:: self._batch_size]]
        views = split_views(self._split.manifest, self._backbone.transform)
        device = next(self._backbone.parameters()).device
        for images in load_images(
            self._source,
            self._sample_id,
            batches,
            views,
            workers=self._workers,
            device=device,
        ):
            for why in images.failures.values():
                raise UserError(f"cannot read {why}: the store was made when it could be read")
            yield self._compared(images, device)

    def _compared(self, images: ImageBatch, device: torch.device) -> ComparedBatch:
        places = np.array(images.records)
        return ComparedBatch(
            view=images.view,
            samples=self._sample_id[places].tolist(),
            labels=torch.from_numpy(self._labels[places]),
            stored={
                spec.name: self._stored(spec, self._records[places], images.view) for spec in self.arrays
            },
            computed=self._computed(images.images.to(device, non_blocking=True)),
        )

    def _stored(self, spec: ArraySpec, records: np.ndarray, view: int) -> torch.Tensor:
        scales = None
        if spec.dtype == "int8":
            scales = self._read(self._split.manifest.array(scale_name(spec.name)), records, view)
        return decode(self._read(spec, records, view), scales)

    def _read(self, spec: ArraySpec, records: np.ndarray, view: int) -> torch.Tensor:
        buffer = np.empty((len(records), *spec.record_shape), spec.storage_dtype)
        self._split.gather(spec.name, records, buffer, view)
        self._split.require_sound(spec.name, records, buffer, view)
        return spec.as_tensor(buffer)

    @torch.inference_mode()
    def _computed(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = {}
        for block, tokens in self._backbone(images, self._split.manifest.blocks).items():
            kinds = {
                cast(TokenArray, kind)
                for kind in (spec.name.partition("/")[2] for spec in self.arrays if _block(spec) == block)
            }
            batch = live_batch(tokens, self._backbone.final_norm, kinds)
            found |= {f"block{block}/{kind}": getattr(batch, kind).cpu() for kind in kinds}
        return found


def _token_arrays(split: SplitReader) -> list[ArraySpec]:
    kinds = {kind for kind in get_args(TokenArray) if not kind.endswith("_scale")}
    return [spec for spec in split.manifest.arrays if spec.name.partition("/")[2] in kinds]


def _block(spec: ArraySpec) -> int:
    return int(spec.name.partition("/")[0].removeprefix("block"))

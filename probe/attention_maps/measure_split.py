"""The measures of several heads over a split, in one pass over its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from cache import SplitReader, Store, chosen_device
from configs import UserError
from extract.sources import ImageSource
from probe.attention_maps.head_tokens import stored_tokens
from probe.attention_maps.measures import HeadMeasures, RunningMeasures
from probe.attention_maps.objects import Objects, object_mask, read_objects
from probe.attention_maps.options import AttentionOptions
from probe.attention_maps.originals import load_original, open_originals
from probe.trained_head import TrainedHead


@dataclass(frozen=True)
class _Places:
    """Where the objects of a split's images are."""

    objects: Objects
    source: ImageSource
    sample_id: np.ndarray
    transform: dict[str, object]

    def masks(self, records: np.ndarray) -> tuple[list[int], torch.Tensor]:
        """Rows of `records` whose objects are known and seen, and their masks (b, H, W) bool."""
        rows, found = [], []
        for row, sample in enumerate(self.sample_id[records].tolist()):
            shapes = self.objects.of(sample, self.source.describe(sample))
            if shapes:
                mask = object_mask(shapes, load_original(self.source, sample).size, self.transform)
                if mask.any():  # the crop may have left the object outside
                    rows.append(row)
                    found.append(torch.from_numpy(mask))
        return rows, torch.stack(found) if found else torch.empty(0)


def measure_split(
    heads: Sequence[TrainedHead], store: Store, split: SplitReader, options: AttentionOptions
) -> list[HeadMeasures]:
    """Of every head. Raises `UserError` where --boxes tells nothing of the split's images."""
    device = chosen_device(options.device)
    places = _places(heads, split, options)
    norm = store.final_norm.to(device) if store.final_norm else None
    for head in heads:
        head.probe.to(device)
    running = [RunningMeasures(head) for head in heads]
    for batch in stored_tokens(heads, split, norm, options.batch_size, device, options.limit):
        rows, masks = places.masks(batch.records) if places else ([], torch.empty(0))
        for sums in running:
            maps = sums.add(batch.tokens[sums.head.trial], batch.labels)
            sums.add_objects(maps[rows], masks.to(device))
    if places and not running[0].located:
        raise UserError(
            f"--boxes {options.boxes}: it names none of the {running[0].images:,} images of {split.name}, "
            f"such as {places.source.describe(0)}: give their paths, or a CSV file of sample_id"
        )
    return [sums.result() for sums in running]


def _places(heads: Sequence[TrainedHead], split: SplitReader, options: AttentionOptions) -> _Places | None:
    if options.boxes is None:
        return None
    for head in heads:
        if len(head.grid) != 2:
            raise UserError(f"--boxes: the tokens of {head.trial} have no rows and columns")
    objects = read_objects(options.boxes.expanduser())
    source = open_originals(split, options.dataset)
    return _Places(objects, source, split.whole("sample_id"), dict(heads[0].backbone.transform))

"""Mending a store: what is damaged is extracted again, what is sound stays as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from cache import (
    Computation,
    ShardRepair,
    ShardResult,
    SplitReader,
    SplitWriter,
    scale_name,
    seeded_permutation,
)
from configs import UserError
from extract.backbone import Backbone
from extract.encoding import encode_batch, shard_batches
from extract.image_loader import ImageBatch, load_images
from extract.image_views import ImageViews, split_views
from extract.pipeline import LEFT_OUT
from extract.sources import ImageSource


@dataclass(frozen=True)
class Extraction:
    """What computes a split's records again."""

    backbone: Backbone
    source: ImageSource
    device: torch.device
    computation: Computation
    workers: int


def repair_shards(
    split: SplitReader, writer: SplitWriter, shards: Sequence[int], extraction: Extraction
) -> Iterator[ShardResult]:
    """Rebuild `shards` one by one; `writer` holds the split's lock.

    Batches are the ones that the extraction made, so that on the same machine, with the same batch size, the
    same bytes come back. Raises `UserError` where that is impossible.
    """
    extraction.backbone.compute_as(extraction.computation)
    for shard in shards:
        shard_writer = writer.begin(shard)
        try:
            repair = ShardRepair(split, shard_writer)
            _replace_unsound(split, shard, repair, extraction)
            yield repair.commit()
        except BaseException:
            shard_writer.abort()
            raise


def _replace_unsound(split: SplitReader, shard: int, repair: ShardRepair, extraction: Extraction) -> None:
    unsound = set(repair.unsound)
    first = shard * split.manifest.shard_size
    sample_id = _sample_ids(split, shard, repair)
    batches = [
        [record - first for record in batch]
        for batch in shard_batches(split.manifest, shard, extraction.computation.batch_size)
        if unsound.intersection(record - first for record in batch)
    ]
    labels = extraction.source.labels[sample_id]
    views = split_views(split.manifest, extraction.backbone.transform)
    for batch in _load(extraction, sample_id, batches, views):
        _replace(split, repair, _as_extracted(batch, repair), labels, sample_id, extraction)


def _sample_ids(split: SplitReader, shard: int, repair: ShardRepair) -> np.ndarray:
    """(records,) which image each record of the shard is: as stored, or as the record order says."""
    manifest = split.manifest
    first, records = shard * manifest.shard_size, manifest.shard_records(shard)
    stored = repair.values("sample_id", 0, records)
    lost = [place for place in range(records) if not repair.is_sound("sample_id", place)]
    if lost and manifest.order_seed is None:
        raise UserError(
            f"{split.folder}: shard {shard} has lost which images it holds ({manifest.order}): "
            "make the store again"
        )
    if lost:
        order = seeded_permutation(manifest.dataset.samples, int(manifest.order_seed or 0))
        stored[lost] = order[first : first + records][lost]
    return stored


def _load(
    extraction: Extraction, sample_id: np.ndarray, batches: Sequence[Sequence[int]], views: ImageViews
) -> Iterator[ImageBatch]:
    return load_images(
        extraction.source,
        sample_id,
        batches,
        views,
        workers=extraction.workers,
        device=extraction.device,
    )


def _as_extracted(batch: ImageBatch, repair: ShardRepair) -> ImageBatch:
    """The batch with the very images left out that the extraction left out."""
    left_out, unsound = repair.left_out, repair.unsound
    for row, why in batch.failures.items():
        if batch.records[row] in unsound and batch.records[row] not in left_out:
            raise UserError(f"cannot read {why}: mend it, the store was made when it could be read")
    failures = {row: left_out[place] for row, place in enumerate(batch.records) if place in left_out}
    return replace(batch, failures=failures)


def _replace(
    split: SplitReader,
    repair: ShardRepair,
    batch: ImageBatch,
    labels: np.ndarray,
    sample_id: np.ndarray,
    extraction: Extraction,
) -> None:
    tokens = encode_batch(batch, extraction.backbone, split.manifest, extraction.device)
    for row, place in enumerate(batch.records):
        label = LEFT_OUT if row in batch.failures else labels[place]
        repair.replace("labels", place, np.asarray(label, dtype=np.int64))
        repair.replace("sample_id", place, np.asarray(sample_id[place], dtype=np.int64))
    for name, (encoded, _) in tokens.items():
        ends = encoded.minimum.item(), encoded.maximum.item()
        values = encoded.tokens.cpu().numpy()
        for row, place in enumerate(batch.records):
            repair.replace(name, place, values[row], ends, batch.view)
        if encoded.scales is not None:
            scales = encoded.scales.cpu().numpy()
            for row, place in enumerate(batch.records):
                repair.replace(scale_name(name), place, scales[row], view=batch.view)

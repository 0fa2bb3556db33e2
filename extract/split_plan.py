"""Laying out a split: its arrays, the order of its records, its shards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cache import (
    RECORD_ARRAYS,
    ArraySpec,
    Augmentation,
    DatasetIdentity,
    SplitManifest,
    TokenDtype,
    seeded_permutation,
    token_arrays,
)
from extract.backbone import Backbone
from extract.options import ExtractOptions, is_training
from extract.sources import Dataset, ImageSource
from extract.thumbnails import thumbnail_spec

PATCH_BYTES_PER_SHARD = 256 * 2**20


@dataclass(frozen=True)
class SplitPlan:
    """What to extract of a split, and how."""

    store: Path
    manifest: SplitManifest
    sample_id: np.ndarray  # (records,) int64
    options: ExtractOptions


def plan_split(
    backbone: Backbone,
    dataset: Dataset,
    split: str,
    source: ImageSource,
    *,
    store: Path,
    blocks: tuple[int, ...],
    options: ExtractOptions,
) -> SplitPlan:
    """Lay out the split's arrays, order and shards."""
    sample_id = seeded_permutation(len(source), options.seed)[: options.limit]
    views = options.views if is_training(split) else 1
    arrays = tuple(spec for block in blocks for spec in _arrays(backbone, block, options.dtype, views))
    shard_size = options.shard_size or _shard_size(arrays[0].record_bytes)
    manifest = SplitManifest(
        dataset=DatasetIdentity(
            name=dataset.name,
            split=split,
            source=dataset.source,
            fingerprint=source.fingerprint,
            samples=len(source),
        ),
        classes=source.classes,
        records=len(sample_id),
        views=views,
        augmentation=Augmentation(name=options.augment, seed=options.augment_seed or 0)
        if views > 1 and options.augment
        else None,
        order=f"permuted, Philox seed {options.seed}",
        order_seed=options.seed,
        format=options.format,
        shard_size=min(len(sample_id), shard_size),
        arrays=arrays + _pictures(backbone, options) + RECORD_ARRAYS,
    )
    return SplitPlan(store, manifest, sample_id, options)


def _arrays(backbone: Backbone, block: int, dtype: TokenDtype, views: int) -> tuple[ArraySpec, ...]:
    geometry = backbone.blocks[block]
    norm = backbone.final_norm
    return token_arrays(
        block,
        num_tokens=geometry.num_tokens,
        num_prefix=len(backbone.prefix_roles),
        dim=geometry.dim,
        dtype=dtype,
        views=views,
        normed_mean=norm is not None and geometry.dim == backbone.blocks[-1].dim,
    )


def _pictures(backbone: Backbone, options: ExtractOptions) -> tuple[ArraySpec, ...]:
    if options.thumbnails is None:
        return ()
    return (thumbnail_spec(options.thumbnails, backbone.transform["input_size"]),)


def _shard_size(record_bytes: int) -> int:
    """A power of two between 64 and 4096 that makes about `PATCH_BYTES_PER_SHARD`."""
    fitting = max(1, PATCH_BYTES_PER_SHARD // record_bytes)
    return min(4096, max(64, 1 << (fitting.bit_length() - 1)))

"""Extraction of one split: decode → forward → encode on the device → write, each beside the others."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cache import (
    RECORD_ARRAYS,
    ArraySpec,
    DatasetIdentity,
    Encoded,
    SplitManifest,
    TokenDtype,
    array_name,
    encode,
    launch,
    open_split_writer,
    seeded_permutation,
    token_arrays,
)
from configs import UserError
from extract.backbone import Backbone, BlockTokens
from extract.image_loader import ImageBatch, load_images
from extract.options import ExtractOptions
from extract.progress import extraction_progress
from extract.sources import Dataset, ImageSource
from extract.token_writer import TokenJob, TokenWriter
from extract.transform import image_transform

PATCH_BYTES_PER_SHARD = 256 * 2**20
LEFT_OUT = -1
"""The label of a record whose image could not be read."""


@dataclass(frozen=True)
class SplitPlan:
    """What to extract of a split, and how."""

    store: Path
    manifest: SplitManifest
    blocks: tuple[int, ...]
    sample_id: np.ndarray  # (records,) int64
    options: ExtractOptions


@dataclass(frozen=True)
class SplitResult:
    """What this process did: records and bytes it wrote, and its seconds."""

    records: int
    written: int
    seconds: float


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
    arrays = tuple(spec for block in blocks for spec in _arrays(backbone, block, options.dtype))
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
        views=1,
        order=f"permuted, Philox seed {options.seed}",
        format=options.format,
        shard_size=min(len(sample_id), shard_size),
        arrays=arrays + RECORD_ARRAYS,
    )
    return SplitPlan(store, manifest, blocks, sample_id, options)


def _arrays(backbone: Backbone, block: int, dtype: TokenDtype) -> tuple[ArraySpec, ...]:
    geometry = backbone.blocks[block]
    norm = backbone.final_norm
    return token_arrays(
        block,
        num_tokens=geometry.num_tokens,
        num_prefix=len(backbone.prefix_roles),
        dim=geometry.dim,
        dtype=dtype,
        views=1,
        normed_mean=norm is not None and geometry.dim == backbone.blocks[-1].dim,
    )


def _shard_size(record_bytes: int) -> int:
    """A power of two between 64 and 4096 that makes about `PATCH_BYTES_PER_SHARD`."""
    fitting = max(1, PATCH_BYTES_PER_SHARD // record_bytes)
    return min(4096, max(64, 1 << (fitting.bit_length() - 1)))


def extract_split(
    plan: SplitPlan, backbone: Backbone, source: ImageSource, device: torch.device
) -> SplitResult:
    """Write every shard of the split that is not whole yet.

    Under `accelerate launch` each process writes every n-th shard, and none returns before all have.
    """
    manifest = plan.manifest
    processes = launch()
    with ExitStack() as stack:
        with processes.main_process_first():  # the files that describe the split are written once
            split = stack.enter_context(
                open_split_writer(
                    plan.store,
                    manifest,
                    process=processes.process_index,
                    processes=processes.num_processes,
                )
            )
        unfinished = split.unfinished()
        total = sum(manifest.shard_records(shard) for shard in unfinished)
        label = f"{manifest.dataset.name}/{manifest.dataset.split}"
        progress = stack.enter_context(extraction_progress(label, total, processes.is_main_process))
        if unfinished:
            with TokenWriter(split, plan.options.dtype, progress.update) as writer:
                _run(plan, backbone, source, device, unfinished, writer)
        processes.wait_for_everyone()
        return SplitResult(total, progress.written, progress.seconds)


def _run(
    plan: SplitPlan,
    backbone: Backbone,
    source: ImageSource,
    device: torch.device,
    shards: list[int],
    writer: TokenWriter,
) -> None:
    batches = load_images(
        source,
        plan.sample_id,
        _batches(plan, shards),
        image_transform(backbone.transform),
        backbone.transform["input_size"],
        workers=_workers(plan.options),
        pin_memory=device.type == "cuda",
    )
    labels = source.labels[plan.sample_id]
    for batch in batches:
        if batch.failures and plan.options.on_error == "stop":
            raise UserError(
                f"cannot read {next(iter(batch.failures.values()))}: mend or remove it, "
                "or leave such images out with --on-error skip"
            )
        writer.put(_job(plan, backbone, batch, labels, device))


def _workers(options: ExtractOptions) -> int:
    return min(16, os.cpu_count() or 1) if options.workers is None else options.workers


def _batches(plan: SplitPlan, shards: list[int]) -> list[list[int]]:
    """Lists of records. None crosses a shard, so that a resumed run computes the very same batches."""
    size = plan.manifest.shard_size
    found = []
    for shard in shards:
        first, records = shard * size, plan.manifest.shard_records(shard)
        for start in range(first, first + records, plan.options.batch_size):
            found.append(list(range(start, min(start + plan.options.batch_size, first + records))))
    return found


def _job(
    plan: SplitPlan,
    backbone: Backbone,
    batch: ImageBatch,
    labels: np.ndarray,
    device: torch.device,
) -> TokenJob:
    tokens = backbone(batch.images.to(device, non_blocking=True), plan.blocks)
    failed = list(batch.failures)
    records = list(batch.records)
    batch_labels = labels[records]
    batch_labels[failed] = LEFT_OUT
    encoded: dict[str, tuple[Encoded, torch.Tensor]] = {}
    for block, found in tokens.items():
        for kind, values in _arrays_of(found, backbone, failed).items():
            name = array_name(block, kind)
            dtype = plan.manifest.array(name).dtype
            assert dtype != "int64"
            encoded[name] = encode(values, dtype), values
    return TokenJob(
        shard=records[0] // plan.manifest.shard_size,
        first=records[0],
        tokens=encoded,
        labels=batch_labels,
        sample_id=plan.sample_id[records],
        failures=batch.failures,
    )


@torch.inference_mode()
def _arrays_of(tokens: BlockTokens, backbone: Backbone, failed: list[int]) -> dict[str, torch.Tensor]:
    """The arrays of a block, by kind. Rows of images that could not be read are zeros."""
    patches = tokens.patches.float()
    found = {"patches": patches, "mean": patches.mean(dim=1)}
    if tokens.prefix is not None:
        found["prefix"] = tokens.prefix.float()
    norm = backbone.final_norm
    if norm is not None and patches.shape[-1] == backbone.blocks[-1].dim:
        found["mean_normed"] = norm(patches).mean(dim=1)
    if failed:
        for values in found.values():
            values[failed] = 0
    return found

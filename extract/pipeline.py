"""Extraction of one split: decode → forward → encode on the device → write, each beside the others."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch

from cache import launch, open_split_writer
from configs import UserError
from extract.backbone import Backbone
from extract.encoding import encode_batch, shard_batches
from extract.image_loader import ImageBatch, load_images
from extract.image_views import split_views
from extract.progress import extraction_progress
from extract.sources import ImageSource
from extract.split_plan import SplitPlan
from extract.token_writer import TokenJob, TokenWriter

LEFT_OUT = -1
"""The label of a record whose image could not be read."""


@dataclass(frozen=True)
class SplitResult:
    """What this process did: records and bytes it wrote, and its seconds."""

    records: int
    written: int
    seconds: float


def extract_split(
    plan: SplitPlan, backbone: Backbone, source: ImageSource, device: torch.device
) -> SplitResult:
    """Write every shard of the split's part that is not whole yet.

    Each process that `accelerate launch` started, of every part's job, writes every n-th shard. Those of
    one job return together.
    """
    manifest = plan.manifest
    processes = launch()
    process, of_all = plan.options.part.process(processes.process_index, processes.num_processes)
    with ExitStack() as stack:
        with processes.main_process_first():  # the files that describe the split are written once
            split = stack.enter_context(
                open_split_writer(plan.store, manifest, process=process, processes=of_all)
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
        [batch for shard in shards for batch in shard_batches(plan.manifest, shard, plan.options.batch_size)],
        split_views(plan.manifest, backbone.transform),
        workers=plan.options.decoding_processes,
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


def _job(
    plan: SplitPlan,
    backbone: Backbone,
    batch: ImageBatch,
    labels: np.ndarray,
    device: torch.device,
) -> TokenJob:
    records = list(batch.records)
    batch_labels = labels[records]
    batch_labels[list(batch.failures)] = LEFT_OUT
    return TokenJob(
        shard=records[0] // plan.manifest.shard_size,
        first=records[0],
        tokens=encode_batch(batch, backbone, plan.manifest, device),
        labels=batch_labels,
        sample_id=plan.sample_id[records],
        failures=batch.failures,
        view=batch.view,
    )

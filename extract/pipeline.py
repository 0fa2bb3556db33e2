"""Extraction of one split: decode → forward → encode on the device → write, each beside the others."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch

from cache import SplitManifest, SplitWriter, is_out_of_memory, launch, open_split_writer
from configs import UserError
from extract.backbone import Backbone
from extract.computation import SettledPlan, settle
from extract.encoding import encode_batch, shard_batches
from extract.host_copies import Copied, EncodedArrays, HostCopies
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
    processes = launch()
    process, of_all = plan.options.part.process(processes.process_index, processes.num_processes)
    with ExitStack() as stack:
        with processes.main_process_first():  # the files that describe the split are written once
            settled, split = _open(plan, backbone, device, stack, process, of_all)
        manifest, unfinished = split.manifest, split.unfinished()
        total = sum(manifest.shard_records(shard) for shard in unfinished)
        label = f"{manifest.dataset.name}/{manifest.dataset.split}"
        shown = processes.is_main_process and not plan.options.quiet
        progress = stack.enter_context(extraction_progress(label, total, shown))
        if unfinished:
            with TokenWriter(split, plan.options.dtype, progress.update) as writer:
                _run(settled, backbone, source, device, unfinished, writer)
        processes.wait_for_everyone()
        return SplitResult(total, progress.written, progress.seconds)


def _open(
    plan: SplitPlan, backbone: Backbone, device: torch.device, stack: ExitStack, process: int, of_all: int
) -> tuple[SettledPlan, SplitWriter]:
    """The plan and a writer for it, open until `stack` ends."""
    settled = settle(plan, backbone, device)
    writer = open_split_writer(plan.store, settled.plan.manifest, process=process, processes=of_all)
    try:
        return settled, stack.enter_context(writer)
    except UserError:
        again = settle(plan, backbone, device)  # another part may have found its batch size meanwhile
        if again == settled:
            raise
    writer = open_split_writer(plan.store, again.plan.manifest, process=process, processes=of_all)
    return again, stack.enter_context(writer)


def _run(
    settled: SettledPlan,
    backbone: Backbone,
    source: ImageSource,
    device: torch.device,
    shards: list[int],
    writer: TokenWriter,
) -> None:
    plan, batch_size = settled.plan, settled.computation.batch_size
    batches = load_images(
        source,
        plan.sample_id,
        [batch for shard in shards for batch in shard_batches(plan.manifest, shard, batch_size)],
        split_views(plan.manifest, backbone.transform),
        workers=plan.options.decoding_processes,
        device=device,
    )
    write_batches(batches, plan, backbone, source.labels[plan.sample_id], device, writer)


def write_batches(
    batches: Iterable[ImageBatch],
    plan: SplitPlan,
    backbone: Backbone,
    labels: np.ndarray,
    device: torch.device,
    writer: TokenWriter,
) -> None:
    """Compute the tokens of `batches` and hand them to `writer`. `labels`: (records,) of the split.

    Raises `UserError` for an image that cannot be read, unless these are left out.
    """
    copies = HostCopies(device)
    for batch in batches:
        if batch.failures and plan.options.on_error == "stop":
            raise UserError(
                f"cannot read {next(iter(batch.failures.values()))}: mend or remove it, "
                "or leave such images out with --on-error skip"
            )
        tokens = copies.begin(_tokens(batch, backbone, plan.manifest, device))
        writer.put(_job(plan, batch, labels, tokens))


def _job(plan: SplitPlan, batch: ImageBatch, labels: np.ndarray, tokens: Copied) -> TokenJob:
    records = list(batch.records)
    batch_labels = labels[records]
    batch_labels[list(batch.failures)] = LEFT_OUT
    return TokenJob(
        shard=records[0] // plan.manifest.shard_size,
        first=records[0],
        tokens=tokens,
        labels=batch_labels,
        sample_id=plan.sample_id[records],
        failures=batch.failures,
        view=batch.view,
    )


def _tokens(
    batch: ImageBatch, backbone: Backbone, manifest: SplitManifest, device: torch.device
) -> EncodedArrays:
    try:
        return encode_batch(batch, backbone, manifest, device)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            f"a batch of {len(batch.records)} images does not fit on {device}: give a smaller --batch-size, "
            "or auto, and another --out, since a store keeps to one"
        ) from None

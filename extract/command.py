"""The command `extract`."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import timm
import torch

from cache import (
    INTERRUPTED,
    SplitReader,
    Store,
    StoreManifest,
    chosen_device,
    create_store,
    free_bytes,
    launch,
    missing_bytes,
    split_info,
)
from configs import UserError, parse, run_command
from extract.backbone import Backbone
from extract.backbone_table import show_backbones
from extract.disk_space import require_space
from extract.open_backbone import open_backbone
from extract.options import ExtractOptions, TokenOptions, chosen_blocks, is_training
from extract.part import Part
from extract.pipeline import SplitResult, extract_split
from extract.planning import PlanOptions, show_plan
from extract.sources import open_dataset
from extract.split_plan import plan_split


def store_manifest(backbone: Backbone, options: ExtractOptions) -> StoreManifest:
    """What the store says of itself."""
    return StoreManifest(
        backbone=backbone.identity(),
        dtype=options.dtype,
        tokens=backbone.tokens_state,
        licence=backbone.licence,
        versions={
            "python": platform.python_version(),
            "torch": torch.__version__,
            "timm": timm.__version__,
        },
    )


def extract(options: ExtractOptions) -> None:
    """Extract every split asked for, and say what is stored where; with --plan, only what it would cost."""
    if options.plan:
        show_plan(PlanOptions(**options.model_dump(include=set(TokenOptions.model_fields))))
        return
    dataset = open_dataset(
        options.dataset, image_column=options.image_column, label_column=options.label_column
    )
    sources = {split: dataset.open(split) for split in _splits(options, list(dataset.splits))}
    backbone = open_backbone(options.backbone, weights=options.weights, amp=options.amp)
    blocks = chosen_blocks(options.blocks, len(backbone.blocks))
    device = chosen_device(options.device)
    store = options.out or Path("cache") / backbone.name
    plans = {
        split: plan_split(backbone, dataset, split, source, store=store, blocks=blocks, options=options)
        for split, source in sources.items()
    }
    if not options.force:
        missing = sum(missing_bytes(store, plan.manifest) for plan in plans.values())
        require_space(store, missing, free_bytes(store))
    processes = launch()
    with processes.main_process_first():
        create_store(store, store_manifest(backbone, options), backbone.final_norm)
    backbone.place_on(device)
    for split, source in sources.items():
        result = extract_split(plans[split], backbone, source, device)
        if processes.is_main_process:
            reader = Store(store).split(dataset.name, split)
            print(_summary(reader, options.part, _rate(result, processes.num_processes)))


def _splits(options: ExtractOptions, held: list[str]) -> list[str]:
    splits = held if options.split is None else [options.split]
    if options.views > 1 and not any(map(is_training, splits)):
        raise UserError(
            f"--views {options.views} is for training splits, whose names begin with train: "
            f"there is {', '.join(splits)}"
        )
    return splits


def _rate(result: SplitResult, processes: int) -> str:
    """What this run did."""
    if not result.records:
        return "was complete"
    each = f" in each of {processes} processes" if processes > 1 else ""
    return f"{result.records / result.seconds:,.0f} images/s{each}"


def _summary(reader: SplitReader, part: Part, rate: str) -> str:
    """One line: what is stored, where, and what this run did."""
    manifest = reader.manifest
    stored = len(reader.stored_shards())
    if stored < manifest.shards:  # other parts are at their shards: there are no sizes to tell yet
        return (
            f"{reader.folder}: part {part} is done ({rate}); {stored} of {manifest.shards} shards are stored"
        )
    info = split_info(reader)
    skipped = info["left_out"]
    tokens = [
        f"{spec.name} {'×'.join(map(str, spec.record_shape))} {spec.dtype}"
        for spec in manifest.arrays
        if spec.name.endswith("/patches")
    ]
    shown = ", ".join(tokens) if len(tokens) < 4 else f"{tokens[0]} … {tokens[-1]}"
    left_out = f", {skipped} left out (unreadable)" if skipped else ""
    views = f" in {manifest.views} views" if manifest.views > 1 else ""
    return (
        f"{reader.folder}: {manifest.records - skipped:,} images{views}{left_out}, {shown}, "
        f"{info['bytes'] / 1e6:,.1f} MB of {manifest.format}, {rate}"
    )


def _run() -> None:
    if "--list" in sys.argv[1:]:  # as --help: it needs no other option
        show_backbones()
    else:
        extract(parse(ExtractOptions, prog="extract"))


def main() -> None:
    """Entry point."""
    sys.exit(
        run_command(
            "extract",
            _run,
            interrupted=INTERRUPTED,
        )
    )

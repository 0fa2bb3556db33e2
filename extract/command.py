"""The command `extract`."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

import timm
import torch
from accelerate.utils import gather_object

from cache import (
    INTERRUPTED,
    SplitReader,
    Store,
    StoreManifest,
    chosen_device,
    create_store,
    free_bytes,
    launch,
    leaving_in_order,
    missing_bytes,
    split_info,
)
from configs import parse, run_command
from extract.backbone import Backbone
from extract.backbone_table import show_backbones
from extract.device_decoding import require_decoding
from extract.disk_space import require_space
from extract.open_backbone import open_backbone
from extract.options import ExtractOptions, TokenOptions, chosen_blocks, require_training_split
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


@leaving_in_order()
def extract(options: ExtractOptions) -> None:
    """Extract every split asked for, and say what is stored where; with --plan, only what it would cost."""
    if options.plan:
        shared = options.model_dump(include={*TokenOptions.model_fields, "json_"})
        show_plan(PlanOptions(**shared))
        return
    dataset = open_dataset(
        options.dataset, image_column=options.image_column, label_column=options.label_column
    )
    sources = {split: dataset.open(split) for split in _splits(options, list(dataset.splits))}
    backbone = open_backbone(options.backbone, weights=options.weights, amp=options.amp)
    backbone.decode_as(options.decoding)
    blocks = chosen_blocks(options.blocks, len(backbone.blocks))
    device = chosen_device(options.device)
    require_decoding(backbone.transform, device)
    store = options.out or Path("cache") / backbone.name
    plans = {
        split: plan_split(backbone, dataset, split, source, store=store, blocks=blocks, options=options)
        for split, source in sources.items()
    }
    if not options.force:
        missing = sum(missing_bytes(store, plan.manifest) for plan in plans.values())
        require_space(store, missing, free_bytes(store), options)
    processes = launch()
    with processes.main_process_first():
        create_store(store, store_manifest(backbone, options), backbone.final_norm)
    backbone.place_on(device)
    done = []
    for split, source in sources.items():
        result = extract_split(plans[split], backbone, source, device)
        written = sum(gather_object([result.records]))
        if processes.is_main_process:
            reader = Store(store).split(dataset.name, split)
            done.append(_as_data(reader, result, written))
            if not options.json_:
                print(_summary(reader, options.part, _rate(result, processes.num_processes)), flush=True)
    if options.json_ and processes.is_main_process:
        print(json.dumps({"store": str(store), "splits": done}, indent=1))


def _splits(options: ExtractOptions, held: list[str]) -> list[str]:
    splits = held if options.split is None else [options.split]
    require_training_split(options.views, splits)
    return splits


def _rate(result: SplitResult, processes: int) -> str:
    """What this run did."""
    if not result.records:
        return "was complete"
    each = f" in each of {processes} processes" if processes > 1 else ""
    return f"{result.records / result.seconds:,.0f} images/s{each}"


def _as_data(reader: SplitReader, result: SplitResult, written: int) -> dict[str, Any]:
    """What is stored of a split, and what this run did.

    All its processes have `written` so many images; `images_per_second` is that of each.
    """
    return {
        "split": reader.name,
        "path": str(reader.folder),
        **split_info(reader),
        "written_images": written,
        "seconds": result.seconds,
        "images_per_second": result.records / result.seconds if result.records else None,
    }


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
    words = sys.argv[1:]
    if "--list" in words and not {"-h", "--help"} & set(words):  # it needs no other option
        show_backbones(as_json="--json" in words)
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

"""Extraction (decode → forward → store) against its parts: the bare forward pass, and decoding alone.

    python benchmarks/bench_extract.py [--json FILE] [--quick]

takes two minutes on two cores.

For ViT-S/16 at 224, and for a tiny model where decoding is the limit, both with random weights (speed does
not depend on them), on JPEGs of 500 × 375 that are made here. Contenders take turns in one process. The bare
forward pass (normalisation included) has its images in memory and keeps no tokens; decoding is the run's own
loader with nothing beside it; extraction is the whole run into a new store, its flushes to the disk included.

The slower of the two is what extraction could reach if the other cost nothing, as beside an accelerator. On a
CPU both need the same cores, and each alone uses all of them: there, the sum of their times is the limit.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as `extract` does, before torch is loaded

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Annotated

import torch
import tyro
from bench_pipeline import make_images
from files import scratch
from measure import Contender, Section, compare, take_turns
from pydantic import Field, PositiveInt
from report import CONSOLE, machine_facts, print_section, save

from cache import create_store
from configs import FrozenModel, UserError, optional, parse, run_command
from extract.backbone import Backbone
from extract.command import store_manifest
from extract.encoding import shard_batches
from extract.image_loader import ImageBatch, load_images
from extract.image_views import split_views
from extract.open_backbone import open_backbone
from extract.options import ExtractOptions
from extract.pipeline import extract_split
from extract.sources import ImageSource, open_dataset
from extract.split_plan import SplitPlan, plan_split

PROGRAM = "bench_extract"
MODELS = {"ViT-S/16 at 224": ("timm:vit_small_patch16_224", 4), "tiny ViT at 160": ("timm:test_vit", 1)}
"""Name → model, and of how many images it gets one."""
CPU = torch.device("cpu")
BYTES_PER_IMAGE = 10**6
"""Of its JPEG and its tokens, generously."""
FORWARD, DECODE, BOTH, OURS = "forward alone", "decode alone", "one after the other", "extract"


class ExtractBenchOptions(FrozenModel):
    """Measure extraction against the bare forward pass and against decoding."""

    folder: Path = Field(
        default=Path("bench_extract.tmp"),
        description="images and stores; made and removed, it must not exist",
    )
    images: PositiveInt = Field(
        default=768, description="JPEGs that each contender goes through; a quarter of them with ViT-S/16"
    )
    batch_size: PositiveInt = Field(default=32, description="images in a forward pass")
    rounds: PositiveInt = Field(default=3, description="turns of each contender")
    quick: bool = Field(default=False, description="few images, to see that it runs; no real figures")
    json_: Annotated[Path | None, tyro.conf.arg(name="json"), optional("FILE")] = Field(
        default=None, description="save every number and the facts of the machine; not by default"
    )


@dataclass(frozen=True)
class Work:
    """One model's extraction."""

    plan: SplitPlan
    backbone: Backbone
    source: ImageSource
    batch_size: int

    def decoded(self) -> Iterator[ImageBatch]:
        """The batches of the run, by the run's own loader."""
        manifest, options = self.plan.manifest, self.plan.options
        shards = (shard_batches(manifest, shard, self.batch_size) for shard in range(manifest.shards))
        return load_images(
            self.source,
            self.plan.sample_id,
            [batch for shard in shards for batch in shard],
            split_views(manifest, self.backbone.transform),
            workers=options.decoding_processes,
            pin_memory=False,
        )

    def extract(self) -> int:
        """The whole run; images."""
        create_store(
            self.plan.store, store_manifest(self.backbone, self.plan.options), self.backbone.final_norm
        )
        return extract_split(self.plan, self.backbone, self.source, CPU).records

    def remove_store(self) -> None:
        """So that there is everything to do again."""
        shutil.rmtree(self.plan.store, ignore_errors=True)


def prepare(model: str, share: int, images: Path, options: ExtractBenchOptions) -> Work:
    """Open the model and the images, and lay out the split."""
    extraction = ExtractOptions(
        backbone=model,
        dataset=f"folder:{images}",
        weights="none",
        batch_size=options.batch_size,
        limit=options.images // share,
    )
    dataset = open_dataset(extraction.dataset)
    source, backbone = dataset.open("train"), open_backbone(model, weights="none")
    last = len(backbone.blocks) - 1
    store = images.parent / "store"
    plan = plan_split(backbone, dataset, "train", source, store=store, blocks=(last,), options=extraction)
    return Work(plan, backbone, source, options.batch_size)


def compare_with_parts(title: str, work: Work, jpeg_bytes: int, rounds: int) -> Section:
    """All in turn; the ceiling is the slower of the two parts."""
    in_memory = [batch.images for batch in work.decoded()]
    blocks = work.plan.manifest.blocks

    def forward() -> int:
        return sum(len(work.backbone(images, blocks)[blocks[0]].patches) for images in in_memory)

    def decode() -> int:
        return sum(len(batch.records) for batch in work.decoded())

    forward()  # the first pass also sets the libraries up
    contenders = [
        Contender(FORWARD, forward, jpeg_bytes),
        Contender(DECODE, decode, jpeg_bytes),
        Contender(OURS, work.extract, jpeg_bytes, "ours", work.remove_store),
    ]
    seconds = take_turns(contenders, rounds, title)
    seconds[BOTH] = [sum(both) for both in zip(seconds[FORWARD], seconds[DECODE], strict=True)]
    contenders.append(Contender(BOTH, decode, jpeg_bytes))
    slower = max((FORWARD, DECODE), key=lambda label: median(seconds[label]))
    contenders = [replace(c, role="ceiling") if c.label == slower else c for c in contenders]
    reached = median(seconds[BOTH]) / median(seconds[OURS])
    note = f"extract has {reached:.3f} of the speed of one after the other, which is what these cores can do"
    return compare(title, title, contenders, seconds, note=note)


def run(options: ExtractBenchOptions) -> None:
    """Measure, print, save."""
    if options.json_ is not None and not options.json_.resolve().parent.is_dir():
        raise UserError(f"{options.json_.parent} is no folder: make it first")
    if options.quick:
        options = options.model_copy(update={"images": 16, "batch_size": 8, "rounds": 1})
    facts = machine_facts()
    with scratch(options.folder, options.images * BYTES_PER_IMAGE) as folder:
        make_images(folder / "images", options.images)
        jpeg_bytes = sum(path.stat().st_size for path in folder.glob("images/train/*/*")) // options.images
        CONSOLE.print(
            f"{facts['cpu']}, {facts['cores']} cores; load average before: "
            f"{facts['load_average_before']:.1f}\n"
            f"{options.images:,} JPEGs of 500 × 375, {jpeg_bytes / 1e3:.0f} KB each (MB/s counts these)\n"
            f"batches of {options.batch_size}; {options.rounds} rounds, each contender in turn"
        )
        sections = []
        for title, (model, share) in MODELS.items():
            work = prepare(model, share, folder / "images", options)
            sections.append(compare_with_parts(title, work, jpeg_bytes, options.rounds))
            work.remove_store()
            print_section(sections[-1])
    if options.json_ is not None:
        save(
            options.json_,
            script=PROGRAM,
            options=options.model_dump(mode="json"),
            machine=facts,
            sections=sections,
        )


if __name__ == "__main__":
    sys.exit(run_command(PROGRAM, lambda: run(parse(ExtractBenchOptions, prog=PROGRAM))))

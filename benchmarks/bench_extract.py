"""Extraction (decode → forward → store) against its parts: the bare forward pass, and decoding alone.

    python benchmarks/bench_extract.py [--json FILE] [--quick]

takes two minutes on two cores.

For ViT-S/16 at 224, and for a tiny model where decoding is the limit, both with random weights (speed does
not depend on them), on JPEGs of 500 × 375 that are made here. Contenders take turns in one process. The bare
forward pass (normalisation included) has its images in memory and keeps no tokens; decoding is the run's own
loader with nothing beside it; extraction is the whole run into a new store, its flushes to the disk included.

`--in-memory` leaves decoding out, for an accelerator: what storing the tokens costs beside the forward pass.

    python benchmarks/bench_extract.py --in-memory --amp bfloat16 --compile --batch-size 256 --images 16384 \
        --backbone timm:vit_base_patch16_224,timm:vit_large_patch16_224

The slower of the two is what extraction could reach if the other cost nothing, as beside an accelerator. On a
CPU both need the same cores, and each alone uses all of them: there, the sum of their times is the limit.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as `extract` does, before torch is loaded

import sys
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Annotated

import torch
from bench_pipeline import make_images
from extraction_work import Work, prepare
from files import scratch
from measure import Contender, Section, compare, take_turns
from pydantic import Field, PositiveInt
from report import CONSOLE, JsonFile, machine_facts, print_section, save

from cache import chosen_device
from configs import FrozenModel, Names, UserError, in_bytes, optional, parse, run_command
from extract.backbone import Amp

PROGRAM = "bench_extract.py"
MODELS = {"ViT-S/16 at 224": ("timm:vit_small_patch16_224", 4), "tiny ViT at 160": ("timm:test_vit", 1)}
"""Name → model, and of how many images it gets one."""
BYTES_PER_IMAGE = 10**6
"""Of its JPEG and its tokens, generously."""
FORWARD, DECODE, BOTH, OURS = "forward alone", "decode alone", "one after the other", "extract"
STORED = "extract without decoding"


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
    backbone: Names = Field(
        default=(), description="such as timm:vit_base_patch16_224, instead of the two models; random weights"
    )
    in_memory: bool = Field(
        default=False,
        description="images are decoded beforehand: extraction without decoding, against the forward pass",
    )
    device: Annotated[str | None, optional("NAME")] = Field(
        default=None, description="cuda, cpu, …; without it, the fastest there is"
    )
    amp: Amp = Field(default="none", description="as of extract")
    compile: bool = Field(default=False, description="as of extract")
    channels_last: bool = Field(default=False, description="as of extract")
    rounds: PositiveInt = Field(default=3, description="turns of each contender")
    quick: bool = Field(default=False, description="few images, to see that it runs; no real figures")
    json_: JsonFile = None

    @property
    def models(self) -> dict[str, tuple[str, int]]:
        """Title → model, and of how many images it gets one."""
        return {name: (name, 1) for name in self.backbone} or MODELS


def compare_in_memory(title: str, work: Work, jpeg_bytes: int, rounds: int) -> Section:
    """The forward pass with and without the store, of images that are decoded already."""
    batches = list(work.decoded())
    if work.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(work.device)  # of the model before
    work.forward(batches)  # the first pass also compiles, and sets the libraries up
    contenders = [
        Contender(FORWARD, lambda: work.forward(batches), jpeg_bytes, "ceiling"),
        Contender(STORED, lambda: work.extract_decoded(batches), jpeg_bytes, "ours", work.remove_store),
    ]
    peak = torch.cuda.max_memory_allocated(work.device) if work.device.type == "cuda" else None
    note = "" if peak is None else f"peak of the device's memory, forward pass alone: {in_bytes(peak)}"
    return compare(title, title, contenders, take_turns(contenders, rounds, title), note=note)


def compare_with_parts(title: str, work: Work, jpeg_bytes: int, rounds: int) -> Section:
    """All in turn; the ceiling is the slower of the two parts."""
    in_memory = list(work.decoded())

    def forward() -> int:
        return work.forward(in_memory)

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
        measured = compare_in_memory if options.in_memory else compare_with_parts
        for title, (model, share) in options.models.items():
            work = prepare(
                model,
                folder / "images",
                options.batch_size,
                chosen_device(options.device),
                limit=options.images // share,
                quiet=True,
                amp=options.amp,
                compile=options.compile,
                channels_last=options.channels_last,
            )
            sections.append(measured(title, work, jpeg_bytes, options.rounds))
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

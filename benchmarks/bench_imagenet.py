"""What ImageNet-1k would cost on this machine: extraction, epochs, a 90-epoch EP32 run, a sweep of 64 trials.

    python benchmarks/bench_imagenet.py [--folder DIR] [--json FILE] [--quick]

Measured: extraction (decode, forward pass, write) of JPEGs of 500 × 375 that are made here, by models with
random weights (speed does not depend on them); the same images through decoding, the forward pass and a step
of EP32 as published, which is an epoch with the backbone in the loop; and training epochs of EP32 on a
generated store, in each tier, streaming with an empty page cache. Projected: all of it to the 1,281,167
training images of ImageNet-1k, and marked so. ImageNet's JPEGs are larger than these (110 KB against 69), the
loop's epochs do not evaluate, and nothing here says anything of accuracy.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from bench_pipeline import make_images
from extraction_work import Work, prepare
from files import scratch
from generated_store import CLASSES, NAME, Generated, generate, seconds_of_an_image
from imagenet_projection import EPOCHS, SWEEP, TRAIN_IMAGES, Measured, Projection, projected
from published_probes import published_probe
from pydantic import Field, PositiveInt
from report import CONSOLE, JsonFile, machine_facts, save
from rich.box import SIMPLE
from rich.table import Table

from cache import Tier, TokenDtype, array_name, chosen_device, free_device_memory, free_host_memory
from cache.residency import FITTING_SHARE
from configs import FrozenModel, Names, UserError, in_bytes, optional, parse, run_command

PROGRAM = "bench_imagenet.py"
QUICK_MODEL = "timm:test_vit"
BYTES_OF_AN_IMAGE = 10**6
DTYPES: tuple[TokenDtype, ...] = ("float16", "int8")
TIERS: tuple[Tier, ...] = ("device", "host", "stream")


class ImagenetBenchOptions(FrozenModel):
    """What ImageNet-1k would cost on this machine, projected from what fits here."""

    folder: Path = Field(
        default=Path("bench_imagenet.tmp"), description="images and stores; made and removed"
    )
    backbone: Names = Field(
        default=("timm:vit_base_patch16_224", "timm:vit_large_patch16_224"),
        description="models, with random weights",
    )
    images: PositiveInt = Field(default=1024, description="JPEGs to extract and to loop over")
    records: PositiveInt = Field(default=16384, description="images in the generated store: as many as fit")
    batch_size: PositiveInt = Field(default=1024, description="images in a probe's step")
    extraction_batch: PositiveInt = Field(default=128, description="images in a forward pass")
    device: Annotated[str | None, optional("NAME")] = Field(
        default=None, description="cuda, cpu, …; without it, the fastest there is"
    )
    quick: bool = Field(default=False, description="tiny sizes, to see that it runs; no real figures")
    json_: JsonFile = None

    def resolved(self) -> ImagenetBenchOptions:
        """With the tiny sizes, where these are wanted."""
        if not self.quick:
            return self
        tiny = {"images": 16, "records": 256, "batch_size": 32, "extraction_batch": 8}
        return self.model_copy(update={**tiny, "backbone": (QUICK_MODEL,)})


def in_the_loop(work: Work, device: torch.device) -> float:
    """Seconds of an image through decoding, the forward pass and a step of EP32 as published."""
    _, dim = work.plan.manifest.array(array_name(work.block, "patches")).record_shape
    grid = work.backbone.blocks[work.block].grid
    probe = published_probe(NAME, dim, CLASSES, grid).to(device)
    optimizer = torch.optim.SGD(probe.parameters(), 0.1)
    images, began = 0, time.perf_counter()
    for batch in work.decoded():
        tokens = work.patches(batch.images).float().clone()  # autograd refuses what inference made
        labels = torch.zeros(len(tokens), dtype=torch.long, device=device)
        optimizer.zero_grad()
        F.cross_entropy(probe(tokens), labels).backward()
        optimizer.step()
        images += len(tokens)
    float(probe.classifier.weight.detach().sum())  # the device has finished
    return (time.perf_counter() - began) / images


def measure(
    options: ImagenetBenchOptions, folder: Path, model: str, dtype: TokenDtype, device: torch.device
) -> Measured:
    """One backbone and dtype."""
    amp = "none" if device.type == "cpu" else "bfloat16"
    images = folder / "images"
    work = prepare(model, images, options.extraction_batch, device, dtype=dtype, amp=amp, quiet=True)
    looping = min(in_the_loop(work, device) for _ in range(2))
    seconds = []
    for _ in range(2):
        work.remove_store()
        began = time.perf_counter()
        seconds.append((work.extract(), time.perf_counter() - began))
    work.remove_store()
    tokens, dim = work.plan.manifest.array(array_name(work.block, "patches")).record_shape
    shard = min(1024, options.records)
    workload = Generated(options.records // shard * shard, shard, options.batch_size, tokens, dim)
    store = folder / "generated"
    try:
        stored = generate(store, workload, dtype)
        tiers = [tier for tier in TIERS if tier != "device" or device.type != "cpu"]
        times = {
            trials: {tier: seconds_of_an_image(store, workload, tier, trials, device) for tier in tiers}
            for trials in (1, SWEEP)
        }
    finally:
        shutil.rmtree(store, ignore_errors=True)
    return Measured(
        model.partition(":")[2],
        dtype,
        stored,
        extraction=min(taken / images for images, taken in seconds),
        in_the_loop=looping,
        one_trial=times[1],
        sweep=times[SWEEP],
    )


def print_projections(projections: Sequence[Projection]) -> None:
    """What is projected: an epoch, and whole runs."""
    names = [[one.measured.backbone, one.measured.dtype] for one in projections]
    tiers = list(projections[0].epoch_seconds)
    epochs = [
        [in_bytes(one.store_bytes), f"{one.extraction_hours:.2f}"]
        + [f"{one.epoch_seconds[tier]:,.0f}" for tier in tiers]
        for one in projections
    ]
    runs = [
        [
            one.tier,
            f"{one.extraction_hours + one.run_hours:.2f}",
            f"{one.in_the_loop_hours:.1f}",
            f"{one.times_faster:.1f} ×",
            f"{one.extraction_hours + one.sweep_hours:.2f}",
            f"{one.sweep_times_faster:,.0f} ×",
        ]
        for one in projections
    ]
    title = f"PROJECTED to ImageNet-1k ({TRAIN_IMAGES:,} images), not run"
    columns = ["bytes", "extract, h", *(f"epoch from {tier}, s" for tier in tiers)]
    print_table(f"{title}: extraction, and an epoch of EP32", columns, names, epochs)
    columns = ["tier", f"{EPOCHS} epochs, h", "in the loop, h", "faster", f"{SWEEP} trials, h", "faster"]
    print_table(f"{title}: extraction and {EPOCHS} epochs of EP32", columns, names, runs)
    CONSOLE.print(
        "in the loop: decode, forward pass and published EP32 in every epoch; the second 'faster' is against "
        f"{SWEEP} such runs. A tier that does not hold the store here is not used for whole runs."
    )


def print_table(
    title: str, columns: Sequence[str], names: Sequence[list[str]], rows: Sequence[list[str]]
) -> None:
    """`names`: backbone and dtype of each row."""
    table = Table(title=title, box=SIMPLE)
    for column in ("backbone", "stored as"):
        table.add_column(column)
    for column in columns:
        table.add_column(column, justify="right")
    for name, row in zip(names, rows, strict=True):
        table.add_row(*name, *row)
    CONSOLE.print(table)


def run(options: ImagenetBenchOptions) -> None:
    """Measure, project, print, save."""
    options = options.resolved()
    if options.json_ is not None and not options.json_.resolve().parent.is_dir():
        raise UserError(f"{options.json_.parent} is no folder: make it first")
    device = chosen_device(options.device)
    facts: dict[str, Any] = machine_facts()
    room: dict[Tier, int] = {
        "device": int(FITTING_SHARE * free_device_memory(device)),
        "host": int(FITTING_SHARE * free_host_memory()),
    }
    needed = options.images * BYTES_OF_AN_IMAGE + options.records * 2 * 196 * 1024
    with scratch(options.folder, needed) as folder:
        make_images(folder / "images", options.images)
        projections = [
            projected(measure(options, folder, model, dtype, device), room)
            for model in options.backbone
            for dtype in DTYPES
        ]
    CONSOLE.print(
        f"{facts['cpu']}, {facts['cores']} cores, {device}; measured on {options.images:,} JPEGs and a "
        f"generated store of {options.records:,} images"
    )
    print_projections(projections)
    if options.json_ is not None:
        found = [asdict(projection) for projection in projections]
        save(options.json_, script=PROGRAM, quick=options.quick, machine=facts, room=room, projected=found)


if __name__ == "__main__":
    sys.exit(run_command(PROGRAM, lambda: run(parse(ImagenetBenchOptions, prog=PROGRAM))))

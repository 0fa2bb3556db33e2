"""Ninety epochs of EP32: extracted once and trained from the store, against a backbone in every epoch.

    python benchmarks/bench_pipeline.py [--folder DIR] [--json FILE] [--quick]

Both ways see the same JPEGs (500 × 375, made here) and ViT-S/16 with random weights (speed does not depend
on them), on the CPU. In the loop: torchvision's `ImageFolder` and RandomResizedCrop, a `DataLoader` of two
workers, timm's forward pass without gradients, EP32 as published, AdamW. Two epochs of it are measured and
scaled to ninety; the other way, `extract` and `probe --epochs 90`, is measured whole, start-up and evaluation
included.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from published_probes import published_probe
from report import CONSOLE, machine_facts, save
from torchvision import datasets, transforms

CLASSES, EPOCHS, MEASURED, BATCH = 8, 90, 2, 64
MODEL, WIDTH, GRID = "vit_small_patch16_224", 384, (14, 14)


def make_images(folder: Path, images: int) -> None:
    """Class folders of JPEGs that compress as photographs do: smooth shapes with some noise."""
    random = np.random.default_rng(0)
    for split, count in (("train", images), ("val", max(CLASSES, images // 8))):
        for number in range(count):
            coarse = Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8))
            smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), dtype=np.float32)
            noisy = (smooth + random.normal(0, 8, smooth.shape)).clip(0, 255).astype(np.uint8)
            path = folder / split / f"class{number % CLASSES}" / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noisy).save(path, quality=90)


def backbone_in_the_loop(folder: Path) -> list[float]:
    """Seconds of each measured epoch."""
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(224, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )
    loader = torch.utils.data.DataLoader(
        datasets.ImageFolder(str(folder / "train"), transform),
        BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=2,
        persistent_workers=True,
    )
    model: Any = timm.create_model(MODEL, num_classes=0).eval()
    probe = published_probe("ep32", WIDTH, CLASSES, GRID)
    optimizer = torch.optim.AdamW(probe.parameters(), 1e-3)
    seconds = []
    for _ in range(MEASURED):
        started = time.perf_counter()
        for images, labels in loader:
            with torch.no_grad():
                tokens = model.forward_features(images)[:, 1:]
            optimizer.zero_grad()
            F.cross_entropy(probe(tokens), labels).backward()
            optimizer.step()
        seconds.append(time.perf_counter() - started)
    return seconds


def seconds_of(command: list[str], cwd: Path) -> float:
    """Of one command, as a user runs it."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", *command], cwd=cwd, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def from_the_store(folder: Path) -> dict[str, float]:
    """Seconds of extraction and of ninety epochs."""
    extract = ["extract", "--backbone", f"timm:{MODEL}", "--weights", "none", "--dataset", f"folder:{folder}"]
    probe = ["probe", "--cache", "store", "--probe", "ep32", "--recipe", "fast", "--epochs", str(EPOCHS)]
    return {
        "extract": seconds_of([*extract, "--out", "store", "--quiet"], folder),
        "probe": seconds_of([*probe, "--batch-size", str(BATCH), "--quiet"], folder),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("bench_pipeline.tmp"), help="made and removed")
    parser.add_argument("--json", type=Path, help="save every number and the facts of the machine")
    parser.add_argument("--quick", action="store_true", help="few images, to see that it runs")
    arguments = parser.parse_args()
    facts, images = machine_facts(), 2 * BATCH if arguments.quick else 1024
    folder = arguments.folder.resolve()
    folder.mkdir()
    try:
        make_images(folder, images)
        epochs = backbone_in_the_loop(folder)
        ours = from_the_store(folder)
    finally:
        shutil.rmtree(folder)
    in_the_loop = EPOCHS * sum(epochs) / MEASURED
    result: dict[str, Any] = {
        "images": images,
        "in_the_loop_epochs": epochs,
        "in_the_loop_projected": in_the_loop,
        "ours": ours,
        "times": in_the_loop / sum(ours.values()),
    }
    CONSOLE.print(
        f"{images:,} images, ViT-S/16, EP32, {EPOCHS} epochs\n"
        f"backbone in the loop: {sum(epochs) / MEASURED:.1f} s an epoch (mean of {MEASURED}), "
        f"{in_the_loop:,.0f} s projected\n"
        f"from the store: {ours['extract']:.1f} s to extract, {ours['probe']:.1f} s to probe\n"
        f"{result['times']:.0f} × faster"
    )
    if arguments.json:
        save(arguments.json, machine=facts, **result)


if __name__ == "__main__":
    main()

"""One model's extraction of a folder of images, whole and in its parts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cache import create_store, open_split_writer
from extract.backbone import Backbone
from extract.command import store_manifest
from extract.computation import settle
from extract.encoding import shard_batches
from extract.image_loader import ImageBatch, load_images
from extract.image_views import split_views
from extract.open_backbone import open_backbone
from extract.options import ExtractOptions
from extract.pipeline import extract_split, write_batches
from extract.sources import ImageSource, open_dataset
from extract.split_plan import SplitPlan, plan_split
from extract.token_writer import TokenWriter


@dataclass(frozen=True)
class Work:
    """What `extract` would do."""

    plan: SplitPlan
    backbone: Backbone
    source: ImageSource
    batch_size: int
    device: torch.device

    @property
    def block(self) -> int:
        """Whose tokens are stored: the last."""
        return self.plan.manifest.blocks[-1]

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
            device=self.device,
        )

    def patches(self, images: torch.Tensor) -> torch.Tensor:
        """Patch tokens (B, N, D) of uint8 images (B, 3, H, W), on the device."""
        found = self.backbone(images.to(self.device, non_blocking=True), [self.block])
        patches: torch.Tensor = found[self.block].patches
        return patches

    def forward(self, batches: Sequence[ImageBatch]) -> int:
        """The bare forward pass of `batches`, which keeps no tokens; images."""
        last = [self.patches(batch.images)[-1:].clone() for batch in batches]
        torch.cat(last).float().sum().item()  # the device has finished
        return sum(len(batch.records) for batch in batches)

    def _create_store(self) -> None:
        create_store(
            self.plan.store, store_manifest(self.backbone, self.plan.options), self.backbone.final_norm
        )

    def extract(self) -> int:
        """The whole run; images."""
        self._create_store()
        return extract_split(self.plan, self.backbone, self.source, self.device).records

    def extract_decoded(self, batches: Sequence[ImageBatch]) -> int:
        """The whole run but decoding, whose `batches` are in memory; images."""
        self._create_store()
        split = open_split_writer(self.plan.store, self.plan.manifest)
        labels = self.source.labels[self.plan.sample_id]
        with split, TokenWriter(split, self.plan.options.dtype, lambda records, written: None) as writer:
            write_batches(batches, self.plan, self.backbone, labels, self.device, writer)
        return sum(len(batch.records) for batch in batches)

    def remove_store(self) -> None:
        """So that there is everything to do again."""
        shutil.rmtree(self.plan.store, ignore_errors=True)


def prepare(model: str, images: Path, batch_size: int, device: torch.device, **options: Any) -> Work:
    """Open the model, with random weights, and the images, and lay out the split."""
    extraction = ExtractOptions(
        backbone=model, dataset=f"folder:{images}", weights="none", batch_size=batch_size, **options
    )
    dataset = open_dataset(extraction.dataset)
    source, backbone = dataset.open("train"), open_backbone(model, weights="none", amp=extraction.amp)
    backbone.place_on(device)
    last = len(backbone.blocks) - 1
    store = images.parent / "store"
    plan = plan_split(backbone, dataset, "train", source, store=store, blocks=(last,), options=extraction)
    return Work(settle(plan, backbone, device).plan, backbone, source, batch_size, device)

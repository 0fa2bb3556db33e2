"""The measures of one probe's maps over a split: sums while batches come, means at the end."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from probe.attention_maps.even_maps import predictions
from probe.attention_maps.formulas import entropy, inside, similarities
from probe.attention_maps.maps import patch_maps
from probe.trained_head import TrainedHead

ON_OBJECT = ("mass", "centroid", "peak", "area")


@dataclass(frozen=True)
class MapMeasures:
    """Of one query or head: means over the images. None: not measured, or not defined."""

    trial: str
    query: int
    """From 1 on."""
    entropy: float
    patch_share: float
    """Weight on the patches, before maps are made to sum to 1."""
    similarity: float | None
    """Mean cosine to the other queries' maps."""
    highest_similarity: float | None
    delta_top1: float | None
    """Top-1 accuracy lost, in points, where this map is made uniform."""
    mass: float | None
    centroid: float | None
    peak: float | None


@dataclass(frozen=True)
class HeadMeasures:
    """Of one trained probe."""

    trial: str
    probe: str
    images: int
    top1: float
    """Of these images, in percent."""
    maps: tuple[MapMeasures, ...]
    located: int
    """Images whose objects are known."""
    area: float | None
    """Mean share of these pictures that the objects cover: what a uniform map has as mass."""


@dataclass
class RunningMeasures:
    """Sums over the images so far, float64 on the CPU."""

    head: TrainedHead
    images: int = 0
    correct: int = 0
    located: int = 0
    sums: dict[str, torch.Tensor] = field(default_factory=dict)
    """Measure → its sum over images, (M,)."""

    @torch.inference_mode()
    def add(self, tokens: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Take up a batch, tokens (B, N, D) float32 and labels (B,); returns its maps (B, M, N)."""
        maps, share = patch_maps(self.head.probe, tokens)
        found, changed = predictions(self.head.probe, tokens)
        self.images += len(labels)
        self.correct += int((found == labels).sum())
        values = {"entropy": entropy(maps), "patch_share": share}
        if maps.shape[1] > 1:
            values["similarity"], values["highest_similarity"] = similarities(maps)
        if changed is not None:
            values["correct_when_even"] = (changed == labels.unsqueeze(1)).double()
        self._sum(values)
        return maps

    def add_objects(self, maps: torch.Tensor, masks: torch.Tensor) -> None:
        """Take up where the objects of images are: maps (b, M, N) and masks (b, H, W) bool."""
        if not len(masks):
            return
        rows, columns = self.head.grid
        self.located += len(masks)
        self._sum(inside(maps, (rows, columns), masks))

    def _sum(self, values: dict[str, torch.Tensor]) -> None:
        for name, value in values.items():
            total = value.double().sum(dim=0).cpu()
            self.sums[name] = self.sums[name] + total if name in self.sums else total

    def result(self) -> HeadMeasures:
        """Means over the images that were taken up."""
        means = {
            name: (total / (self.located if name in ON_OBJECT else self.images)).tolist()
            for name, total in self.sums.items()
        }
        count = len(means["entropy"])
        columns = {name: means.get(name, [None] * count) for name in (*means, *ON_OBJECT)}
        top1 = 100 * self.correct / self.images
        deltas: list[float | None] = [None] * count
        if "correct_when_even" in means:
            deltas = [top1 - 100 * even for even in means["correct_when_even"]]
        none: list[float | None] = [None] * count
        maps = tuple(
            MapMeasures(
                trial=self.head.trial,
                query=query + 1,
                entropy=columns["entropy"][query],
                patch_share=columns["patch_share"][query],
                similarity=columns.get("similarity", none)[query],
                highest_similarity=columns.get("highest_similarity", none)[query],
                delta_top1=deltas[query],
                mass=columns["mass"][query],
                centroid=columns["centroid"][query],
                peak=columns["peak"][query],
            )
            for query in range(count)
        )
        return HeadMeasures(
            self.head.trial, self.head.name, self.images, top1, maps, self.located, columns["area"][0]
        )

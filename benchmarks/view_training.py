"""Training probes on stored views, and on views made anew for every epoch, the backbone in the loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice
from pathlib import Path

import numpy as np
import torch

from cache import Residency, SplitReader, TokenArray, TokenBatch, TokenDataset
from extract import open_backbone
from extract.image_loader import load_images
from extract.image_views import AUGMENTATIONS, ImageViews
from extract.sources import open_dataset
from extract.transform import image_transform
from probe import FedStack, FitOptions, TrainingSetting, TrialStack, evaluate, train_epoch
from probe.data import ProbeData, open_probe_data
from probe.options import ViewPolicy
from probe.recipe import resolved_recipe
from probe.setting import scaled_lr
from probe.split_batches import SplitBatches

CPU = torch.device("cpu")
PROBES = ("lp", "ep16")
ARRAYS: tuple[TokenArray, ...] = ("patches", "prefix")
EVALUATION_BATCH = 128
FRESH_SEED = 1000
"""Of the first epoch's views; each later one has the next."""

Epochs = Callable[[int], Iterable[tuple[TokenBatch, ...]]]
"""The number of an epoch → its batches."""


@dataclass(frozen=True)
class Training:
    """Probes of several seeds that learn by recipe `fast` from a store, and the steps that it gives them."""

    data: ProbeData
    seeds: Sequence[int]
    epochs: int | None = None

    @property
    def _block(self) -> int:
        return self.data.train.manifest.blocks[-1]

    def _batches(
        self, split: SplitReader, policy: ViewPolicy, batch_size: int, training: bool
    ) -> SplitBatches:
        dataset = TokenDataset(split, self._block, ARRAYS, 0 if policy == "plain" else None)
        return SplitBatches(
            [dataset],
            batch_size,
            residency=Residency("host", 0),
            device=CPU,
            training=training,
            draw_views=policy == "random",
        )

    def stored(self, policy: ViewPolicy) -> Epochs:
        """The batches of `probe --view-policy`."""
        size = resolved_recipe(self._options(), self.data.train.manifest.records).batch_size
        return self._batches(self.data.train, policy, size, training=True).epoch

    def top1(self, epochs: Epochs) -> dict[str, list[float]]:
        """Train on so many batches as the plain images make in all epochs; each seed's accuracy, in percent.

        Every way of training gets the same steps, and the same schedule, whatever it takes for an epoch.
        """
        recipe = resolved_recipe(self._options(), self.data.train.manifest.records)
        steps = self.data.train.manifest.records // recipe.batch_size
        ((lr,), (decay,)) = recipe.lr, recipe.weight_decay
        settings = [TrainingSetting(recipe, scaled_lr(lr, recipe), decay, seed, steps) for seed in self.seeds]
        inputs = self.data.inputs(self.data.store.manifest.tokens, None)
        width, grid = self.data.width((self._block,), None), self.data.grid((self._block,))
        stacks = [
            FedStack(TrialStack(name, width, self.data.num_classes, settings, CPU, grid=grid), inputs)
            for name in PROBES
        ]
        train_epoch(stacks, islice(chain.from_iterable(map(epochs, count())), recipe.epochs * steps))
        measured = evaluate(
            stacks, self._batches(self.data.evaluation, "plain", EVALUATION_BATCH, training=False)
        )
        return {
            name: [accuracy.top1 for accuracy in found] for name, found in zip(PROBES, measured, strict=True)
        }

    def _options(self) -> FitOptions:
        return FitOptions(cache=self.data.store.folder, recipe="fast", epochs=self.epochs)


def open_training(store: Path, seeds: Sequence[int], epochs: int | None) -> Training:
    """Of a store of one data set."""
    return Training(open_probe_data(FitOptions(cache=store), CPU), seeds, epochs)


class FreshViews:
    """The plain order of the training images; what is read of them is computed when it is asked for.

    Epoch e gives each image in view 1 of the augmentation under seed `FRESH_SEED` + e; without an
    augmentation, the plain image: the tokens that the store holds.
    """

    def __init__(self, training: Training, backbone: str, dataset: str, augment: str | None) -> None:
        self._training, self._augment = training, augment
        self._backbone = open_backbone(backbone)
        self._source = open_dataset(dataset).open("train")
        self._sample_id = training.data.train.whole("sample_id")

    def epoch(self, number: int) -> Iterable[tuple[TokenBatch, ...]]:
        """As `SplitBatches.epoch`."""
        block = self._training.data.train.manifest.blocks[-1]
        batches = [batch for (batch,) in self._training.stored("plain")(number)]
        loaded = load_images(
            self._source,
            np.asarray(self._sample_id),
            [batch.index.tolist() for batch in batches],
            self._views(number),
            workers=1,
            device=torch.device("cpu"),
        )
        wanted = (images for images in loaded if self._augment is None or images.view == 1)
        for batch, images in zip(batches, wanted, strict=True):
            tokens = self._backbone(images.images, [block])[block]
            assert tokens.prefix is not None
            yield (
                TokenBatch(
                    batch.labels, batch.index, patches=tokens.patches.half(), prefix=tokens.prefix.half()
                ),
            )

    def _views(self, epoch: int) -> ImageViews:
        settings = self._backbone.transform
        plain, size = image_transform(settings), tuple(settings["input_size"])
        if self._augment is None:
            return ImageViews(plain, size)
        return ImageViews(plain, size, 2, FRESH_SEED + epoch, crops=AUGMENTATIONS[self._augment])

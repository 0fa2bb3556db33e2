"""The images that trials train on, choose by, and are measured on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from cache import SplitReader, TokenArray, TokenDataset
from configs import UserError
from probe.data import ProbeData
from probe.options import ViewPolicy
from probe.stratified import fraction, held_out, shots
from probe.trial_spec import TrainingImages


@dataclass(frozen=True)
class DataPart:
    """One part of a split, every block that is read of it.

    With `draw_views` an epoch gives every image once, in one of its views.
    """

    blocks: tuple[TokenDataset, ...]
    draw_views: bool = False

    def __len__(self) -> int:
        """Images of an epoch; one in several views counts once for each that is given."""
        return len(self.blocks[0]) // (len(self.blocks[0].views) if self.draw_views else 1)


@dataclass(frozen=True)
class TrainingData:
    """`held_out` chooses among settings; it is None where nothing is chosen."""

    train: DataPart
    held_out: DataPart | None
    evaluation: DataPart

    @property
    def datasets(self) -> list[TokenDataset]:
        """All that is read."""
        parts = [self.train, self.evaluation, *([self.held_out] if self.held_out else [])]
        return [dataset for part in parts for dataset in part.blocks]


@dataclass(frozen=True)
class ImageChoice:
    """Which training images: a part of those that are not held out."""

    images: TrainingImages
    held_out: float
    """Share that is held out; 0 for none."""
    seed: int


def open_training_data(
    data: ProbeData,
    blocks: tuple[int, ...],
    arrays: Collection[TokenArray],
    choice: ImageChoice,
    *,
    verify: bool,
    views: ViewPolicy = "plain",
) -> TrainingData:
    """Open `arrays` of `blocks`; `views` of the images that are trained on, the plain one of all others.

    Raises `UserError` where a part would hold no image, or a class too few.
    """

    def part(split: SplitReader, keep: np.ndarray | None = None, views: ViewPolicy = "plain") -> DataPart:
        view = 0 if views == "plain" else None
        opened = (TokenDataset(split, block, arrays, view, verify=verify, keep=keep) for block in blocks)
        return DataPart(tuple(opened), draw_views=views == "random")

    if choice.images.all and not choice.held_out:
        return TrainingData(part(data.train, views=views), None, part(data.evaluation))
    labels = data.train.whole("labels")
    apart = held_out(labels, choice.held_out, choice.seed) if choice.held_out else np.zeros(len(labels), bool)
    if choice.held_out and not apart.any():
        raise UserError("--held-out: no class has two images, so none can be held out; use --held-out 0")
    trained = _drawn(np.where(apart, -1, labels), choice)
    return TrainingData(
        part(data.train, trained, views),
        part(data.train, apart) if choice.held_out else None,
        part(data.evaluation),
    )


def _drawn(labels: np.ndarray, choice: ImageChoice) -> np.ndarray:
    """(n,) bool: the images that are trained on, of those whose label is not −1."""
    images = choice.images
    if images.all:
        return labels >= 0
    mask = np.zeros(len(labels), dtype=bool)
    if images.shots is not None:
        mask[shots(labels, images.shots, choice.seed, images.draw)] = True
    else:
        assert images.fraction is not None
        mask[fraction(labels, images.fraction, choice.seed, images.draw)] = True
    return mask

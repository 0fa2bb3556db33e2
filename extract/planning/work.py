"""What is to be extracted, known before weights are loaded or data downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cache import RECORD_ARRAYS, ArraySpec, TokenDtype, array_name, scale_name
from configs import UserError, load_dataset, names, unknown_name
from extract.open_backbone import Architecture, open_architecture
from extract.options import TokenOptions, chosen_blocks, is_training, require_training_split
from extract.sources import ImageSource, open_dataset
from extract.thumbnails import thumbnail_spec


@dataclass(frozen=True)
class Work:
    """An extraction: which blocks of what, over how many images of which data, and where to."""

    options: TokenOptions
    architecture: Architecture
    blocks: tuple[int, ...]
    dataset: str
    images: dict[str, int]
    """Split → how many of its images."""
    source: ImageSource | None
    """Images to decode for a measurement; None where the data set is not on this machine."""

    @property
    def store(self) -> Path:
        """Where the tokens go."""
        return self.options.out or Path("cache") / self.architecture.name

    def views(self, split: str) -> int:
        """Versions of each image of `split`."""
        return self.options.views if is_training(split) else 1

    def record_bytes(self, blocks: Sequence[int], dtype: TokenDtype, views: int = 1) -> int:
        """What the store keeps of one image: tokens of every view, the rest once."""
        arrays = [a for block in blocks for a in self.architecture.geometry.block_arrays(block, dtype)]
        tokens = sum(array.record_bytes for array in arrays)
        return views * tokens + sum(array.record_bytes for array in (*self.pictures(), *RECORD_ARRAYS))

    def pictures(self) -> tuple[ArraySpec, ...]:
        """The array of thumbnails, where they are kept."""
        side = self.options.thumbnails
        return () if side is None else (thumbnail_spec(side, self.architecture.transform["input_size"]),)

    def probe_bytes(self, dtype: TokenDtype) -> int:
        """What a probe of the patches reads of one view: those of the last block that is stored."""
        patches = array_name(self.blocks[-1], "patches")
        arrays = self.architecture.geometry.block_arrays(self.blocks[-1], dtype)
        return sum(array.record_bytes for array in arrays if array.name in (patches, scale_name(patches)))


def plan_work(options: TokenOptions, images: int | None = None) -> Work:
    """The work that `options` ask for. `images`, where given, is the size of its only split.

    Nothing is downloaded: the size of a data set on the Hub must be stated, here or in configs/datasets.
    Raises `UserError` where it is not, and for names that do not exist.
    """
    architecture = open_architecture(options.backbone)
    blocks = chosen_blocks(options.blocks, len(architecture.geometry.blocks))
    name = options.dataset
    sources: dict[str, ImageSource] = {}
    stated = {options.split or "train": images} if images else {}
    if _is_on_the_hub(options.dataset):
        stated = stated or _stated_sizes(options)
    else:
        name, sources = _open(options)
    sizes = stated or {split: len(source) for split, source in sources.items()}
    require_training_split(options.views, sizes)
    return Work(
        options=options,
        architecture=architecture,
        blocks=blocks,
        dataset=name,
        images={split: min(size, options.limit or size) for split, size in sizes.items()},
        source=next(iter(sources.values()), None),
    )


def _is_on_the_hub(dataset: str) -> bool:
    """Whether opening what `--dataset` says would need the network."""
    name, given, elsewhere = dataset.partition("=")  # NAME=KIND:PLACE
    source = dataset
    if name in names("datasets"):
        source = elsewhere if given else load_dataset(name).source
    kind, _, place = source.partition(":")
    return kind == "hf" and not Path(place.partition(":")[0]).exists()


def _stated_sizes(options: TokenOptions) -> dict[str, int]:
    images = load_dataset(options.dataset).images if options.dataset in names("datasets") else {}
    if not images:
        raise UserError(
            f"how many images has {options.dataset}? A plan downloads nothing: give `cache plan --images`"
        )
    if options.split is None:
        return dict(images)
    if options.split not in images:
        raise unknown_name(f"split of {options.dataset}", options.split, images)
    return {options.split: images[options.split]}


def _open(options: TokenOptions) -> tuple[str, dict[str, ImageSource]]:
    """The data set's name, and every split asked for."""
    dataset = open_dataset(
        options.dataset, image_column=options.image_column, label_column=options.label_column
    )
    splits = list(dataset.splits) if options.split is None else [options.split]
    return dataset.name, {split: dataset.open(split) for split in splits}

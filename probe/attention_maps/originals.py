"""The images of a stored split, opened again from the data set that they came from."""

from __future__ import annotations

import warnings

from PIL import Image

from cache import SplitReader
from configs import UserError, load_dataset, names
from extract.images import to_rgb, why_unreadable
from extract.sources import ImageSource, open_dataset


def open_originals(
    split: SplitReader,
    spec: str | None = None,
    *,
    image_column: str | None = None,
    label_column: str | None = None,
) -> ImageSource:
    """The source of `split`, or the one that `spec` names as --dataset does for extract.

    The columns are those of extract, too. Raises `UserError` where it is not there, or holds other images.
    """
    identity = split.manifest.dataset
    try:
        place = spec or _spec(identity.name, identity.source)
        dataset = open_dataset(place, image_column=image_column, label_column=label_column)
        source = dataset.open(identity.split)
    except UserError as error:
        raise UserError(f"the images of {split.name} cannot be opened again: {error}") from None
    if source.fingerprint != identity.fingerprint:
        raise UserError(f"{split.name} was extracted from other images than {identity.source} holds now")
    return source


def _spec(name: str, source: str) -> str:
    """What --dataset says for a data set that a store calls `name`."""
    if name not in names("datasets"):
        return source
    return name if load_dataset(name).source == source else f"{name}={source}"


def load_original(source: ImageSource, sample: int) -> Image.Image:
    """Image `sample`, upright, in RGB. Raises `UserError` where it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return to_rgb(source.load(sample))
    except Exception as error:  # Pillow's plugins raise anything on damaged files
        raise UserError(f"cannot read {source.describe(sample)}: {why_unreadable(error)}") from None

"""Where images come from.

`open_dataset` turns what `--dataset` says into a `Dataset`, whose splits are `ImageSource`s. To add a kind of
source, add a file with an `ImageSource` and a line in `dataset.py`.
"""

from extract.sources.dataset import Dataset, open_dataset
from extract.sources.source import ImageSource

__all__ = ["Dataset", "ImageSource", "open_dataset"]

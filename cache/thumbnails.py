"""Small pictures of a split's images, beside their tokens: as the backbone saw them, for looking at."""

from __future__ import annotations

from cache.arrays import ArraySpec

THUMBNAILS = "thumbnails"


def thumbnail_array(height: int, width: int) -> ArraySpec:
    """One picture of each image, its plain view alone: uint8 RGB, (n, height, width, 3)."""
    return ArraySpec(name=THUMBNAILS, dtype="uint8", record_shape=(height, width, 3), record_chunks=True)

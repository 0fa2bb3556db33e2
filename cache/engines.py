"""The engines by the name that `--format` and the manifest give them."""

from __future__ import annotations

from pathlib import Path

from cache.engine import Engine
from cache.hdf5_engine import Hdf5Engine
from cache.manifest import SplitManifest, StoreFormat
from cache.zarr_engine import ZarrEngine

ENGINES: dict[StoreFormat, type[Engine]] = {"zarr": ZarrEngine, "hdf5": Hdf5Engine}


def open_engine(folder: Path, manifest: SplitManifest) -> Engine:
    """The engine of the split in `folder`."""
    return ENGINES[manifest.format](folder, manifest)

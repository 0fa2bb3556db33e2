"""The contract between the store and a file format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from cache import atomic
from cache.arrays import ArraySpec
from cache.manifest import SplitManifest

Run: TypeAlias = tuple[str, int]
"""An array's name and a view: within a shard, their records are consecutive bytes."""


@dataclass(frozen=True)
class Extent:
    """Where a run is: `path` holds its records back to back from byte `offset`."""

    path: Path
    offset: int


def run_extents(
    extents: Mapping[Run, Extent], path: Path, manifest: SplitManifest, shard: int
) -> dict[Run, tuple[int, int]]:
    """Each run that is in `path`: its byte offset and length."""
    records = manifest.shard_records(shard)
    return {
        run: (extent.offset, records * manifest.array(run[0]).record_bytes)
        for run, extent in extents.items()
        if extent.path == path
    }


class Engine(ABC):
    """A file format: which bytes of which file are a record.

    All else (composing, checksums, resuming, mapping, gathering) is the same for every engine.
    """

    def __init__(self, folder: Path, manifest: SplitManifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @abstractmethod
    def description(self) -> Mapping[Path, bytes]:
        """The files that describe the split and belong to no shard; they follow from the manifest."""

    def create(self) -> None:
        """Write the files of `description`, those that do not stand there yet."""
        for path, content in self.description().items():
            atomic.write_bytes(path, content)

    @abstractmethod
    def files(self, shard: int) -> list[Path]:
        """Every file of `shard`."""

    @abstractmethod
    def prepare(self, shard: int) -> Mapping[Run, Extent]:
        """Make the shard's files under their temporary names; where their runs go."""

    @abstractmethod
    def extents(self, shard: int) -> Mapping[Run, Extent]:
        """Where the runs of a stored shard are."""

    @abstractmethod
    def trailer(self, array: ArraySpec, shard: int) -> bytes:
        """The bytes that follow the last record of each run of `array` in `shard`."""

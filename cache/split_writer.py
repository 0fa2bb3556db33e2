"""Writing one split of a store, resumably."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from cache.engines import open_engine
from cache.lock import WriterLock, one_at_a_time
from cache.manifest import MANIFEST, SplitManifest, claim_manifest, manifest_checksum, read_manifest
from cache.shard_record import ShardRecord, shard_record_path
from cache.shard_writer import ShardWriter
from cache.write_errors import clear_when_unwritable
from configs import UserError


class SplitWriter:
    """Holds a split's lock and hands out its unfinished shards.

    Opening it on a split that exists resumes it; a split of other data, order or layout is refused with
    a `UserError`, as is one that another run is writing. Of several processes that write together
    (`process` of `processes`) each has every n-th shard.
    """

    def __init__(
        self, folder: Path, manifest: SplitManifest, *, process: int = 0, processes: int = 1
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self._engine = open_engine(folder, manifest)
        self._lock = WriterLock(folder, process)
        self._own_shards = range(process, manifest.shards, processes)

    def __enter__(self) -> SplitWriter:
        with clear_when_unwritable(self.folder), ExitStack() as until_ready:
            until_ready.enter_context(self._lock)
            with one_at_a_time(self.folder.parent.parent):
                self._describe()
            until_ready.pop_all()  # no error: the lock stays until __exit__
        return self

    def _describe(self) -> None:
        """Write what belongs to no shard, or make sure that it stands there."""
        if not (self.folder / MANIFEST).exists():
            self._refuse_foreign_shards()
        claim_manifest(self.folder / MANIFEST, self.manifest)
        self._engine.create()

    def _refuse_foreign_shards(self) -> None:
        """A manifest that was lost, or removed because it was damaged, comes back as it was or not at all."""
        expected = manifest_checksum(self.manifest)
        for path in sorted(self.folder.glob("shards/*.json")):
            if read_manifest(path, ShardRecord).split_crc32c != expected:
                raise UserError(
                    f"{self.folder} has lost its manifest.json, and its shards were stored with other "
                    "options or data: give those again, or another folder"
                )

    def __exit__(self, *error: object) -> None:
        self._lock.__exit__(*error)

    def unfinished(self) -> list[int]:
        """This process's shards that are not whole yet, in order."""
        return [shard for shard in self._own_shards if not shard_record_path(self.folder, shard).exists()]

    def begin(self, shard: int) -> ShardWriter:
        """Start `shard` afresh, over whatever a killed run left of it."""
        self._lock.hold(shard)
        return ShardWriter(self._engine, shard)

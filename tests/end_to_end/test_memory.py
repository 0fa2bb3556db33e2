"""How much memory a process takes: neither reading nor writing grows with the store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cache import RECORD_ARRAYS, DatasetIdentity, SplitManifest, token_arrays
from cache.atomic import publish, temporary
from cache.checksum import crc32c
from cache.engines import open_engine
from cache.manifest import MANIFEST, manifest_checksum, write_manifest
from cache.shard_record import ArrayRecord, FileRecord, ShardRecord, write_shard_record

GIB = 2**30
TOKENS, DIM, SHARD = 196, 1024, 640
RECORD_BYTES = TOKENS * DIM * 2

READ = """
import resource, sys
from pathlib import Path
from cache import Residency, SplitReader, TokenDataset, TokenLoader

limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))  # private memory: all but maps of files
dataset = TokenDataset(SplitReader(Path(sys.argv[1])), 0, ["patches"])
loader = TokenLoader(dataset, 128, shuffle=True, residency=Residency("stream", 512 * 2**20))
records = sum(len(batch) for batch in loader)
print(records, int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) * 1024)
"""

WRITE = """
import sys
from pathlib import Path
import numpy as np
from cache import open_split_writer
from cache.manifest import SplitManifest

manifest = SplitManifest.model_validate_json(sys.argv[2])
batch = np.ones((1, 64, *manifest.arrays[0].record_shape), dtype=np.float16)
peak = lambda: int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) * 1024
before = peak()
with open_split_writer(Path(sys.argv[1]), manifest) as split:
    for number in split.unfinished():
        shard = split.begin(number)
        for first in range(0, shard.records, 64):
            shard.write(manifest.arrays[0].name, first, batch[:, : shard.records - first])
        for name in ("labels", "sample_id"):
            shard.write(name, 0, np.zeros(shard.records, dtype=np.int64))
        shard.commit()
print(peak() - before)
"""


def _manifest(records: int) -> SplitManifest:
    patches = token_arrays(
        0, num_tokens=TOKENS, num_prefix=0, dim=DIM, dtype="float16", views=1, normed_mean=False
    )[0]
    return SplitManifest(
        dataset=DatasetIdentity(name="d", split="train", source="", fingerprint="", samples=records),
        classes=("a",),
        records=records,
        views=1,
        order="",
        format="zarr",
        shard_size=SHARD,
        arrays=(patches, *RECORD_ARRAYS),
    )


def _write_sparse(folder: Path, records: int) -> Path:
    """A sound split of zeros, whose files take no room on the disk."""
    manifest = _manifest(records)
    write_manifest(folder / MANIFEST, manifest)
    engine = open_engine(folder, manifest)
    engine.create()
    for shard in range(manifest.shards):
        count = manifest.shard_records(shard)
        files = {}
        for (name, _), extent in engine.prepare(shard).items():
            array = manifest.array(name)
            trailer = engine.trailer(array, shard)
            with extent.path.open("r+b") as file:
                file.truncate(count * array.record_bytes)
                file.seek(0, 2)
                file.write(trailer)
                size = file.tell()
            path = engine.extents(shard)[name, 0].path
            files[path.relative_to(folder).as_posix()] = FileRecord(bytes=size, frame_crc32c=crc32c(trailer))
        for path in engine.files(shard):
            assert temporary(path).exists()
            publish(path)
        arrays = {
            array.name: ArrayRecord(crc32c=(crc32c(bytes(array.record_bytes)),) * count, minimum=0, maximum=0)
            for array in manifest.arrays
        }
        write_shard_record(
            folder,
            ShardRecord(
                split_crc32c=manifest_checksum(manifest),
                shard=shard,
                first=shard * SHARD,
                records=count,
                arrays=arrays,
                files=files,
                skipped={},
            ),
        )
    return folder


def _python(script: str, *words: object) -> list[int]:
    finished = subprocess.run(
        [sys.executable, "-c", script, *map(str, words)], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return [int(word) for word in finished.stdout.split()]


@pytest.mark.slow
def test_streaming_twenty_gigabytes_takes_less_than_two_and_no_more_than_streaming_two(
    tmp_path: Path,
) -> None:
    peaks = []
    for name, size in (("small", 2 * GIB), ("large", 20 * GIB)):
        records = size // RECORD_BYTES + 1
        folder = _write_sparse(tmp_path / name / "d" / "train", records)
        read, peak = _python(READ, folder, 2 * GIB)
        assert read == records
        peaks.append(peak)
    assert max(peaks) < 2 * GIB
    assert peaks[1] < 1.1 * peaks[0]


@pytest.mark.slow
def test_writing_takes_the_memory_of_a_batch(tmp_path: Path) -> None:
    grown = [
        _python(WRITE, tmp_path / str(shards), _manifest(shards * SHARD).model_dump_json())[0]
        for shards in (1, 4)
    ]
    shard_bytes = SHARD * RECORD_BYTES
    assert max(grown) < shard_bytes
    assert grown[1] < grown[0] + 0.2 * shard_bytes

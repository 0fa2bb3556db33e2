"""Any split of any shape, written in any batches, reads back as it was."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cache import SplitManifest, SplitReader

examples = settings(max_examples=20, deadline=None)


@dataclass(frozen=True)
class Plan:
    """Arguments of `split_manifest`, the sizes of the batches in turn, and a seed of the values."""

    layout: dict[str, object]
    batches: list[int]
    seed: int


plans = st.builds(
    Plan,
    layout=st.fixed_dictionaries(
        {
            "format": st.sampled_from(["zarr", "hdf5"]),
            "dtype": st.sampled_from(["float16", "bfloat16", "float32", "int8"]),
            "records": st.integers(1, 12),
            "shard_size": st.integers(1, 13),
            "views": st.integers(1, 3),
            "num_tokens": st.integers(1, 6),
            "num_prefix": st.integers(0, 2),
            "dim": st.integers(1, 6) | st.just(65),
            "normed_mean": st.booleans(),
        }
    ),
    batches=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    seed=st.integers(0, 2**16),
)


def _part(values: np.ndarray, start: int, stop: int, views: int | None) -> np.ndarray:
    return values[start:stop] if views is None else values[:, start:stop]


@given(plan=plans)
@examples
def test_every_shard_reads_as_it_was_written(
    plan: Plan,
    split_manifest: Callable[..., SplitManifest],
    split_values: Callable[..., dict[str, np.ndarray]],
    write_split: Callable[..., Path],
    quick_folder: Path,
) -> None:
    manifest = split_manifest(**plan.layout)
    values = split_values(manifest, plan.seed)
    with tempfile.TemporaryDirectory(dir=quick_folder) as store:
        reader = SplitReader(write_split(Path(store), manifest, values, batches=plan.batches))
        for spec in manifest.arrays:
            for shard in range(manifest.shards):
                first = shard * manifest.shard_size
                expected = _part(values[spec.name], first, first + manifest.shard_size, spec.views)
                for view in range(spec.runs):
                    one = expected if spec.views is None else expected[view]
                    np.testing.assert_array_equal(reader.shard(spec.name, shard, view), one)


@given(plan=plans, data=st.data())
@examples
def test_gather_gives_any_records_in_any_order(
    plan: Plan,
    data: st.DataObject,
    split_manifest: Callable[..., SplitManifest],
    split_values: Callable[..., dict[str, np.ndarray]],
    write_split: Callable[..., Path],
    quick_folder: Path,
) -> None:
    manifest = split_manifest(**plan.layout)
    values = split_values(manifest, plan.seed)
    records = np.array(data.draw(st.lists(st.integers(0, manifest.records - 1), min_size=1, max_size=20)))
    view = data.draw(st.integers(0, manifest.views - 1))
    with tempfile.TemporaryDirectory(dir=quick_folder) as store:
        reader = SplitReader(write_split(Path(store), manifest, values, batches=plan.batches))
        spec = manifest.array("block3/patches")
        rows = np.empty((len(records), *spec.record_shape), spec.storage_dtype)
        reader.gather(spec.name, records, rows, view)
        np.testing.assert_array_equal(rows, values[spec.name][view, records])


@given(plan=plans)
@examples
def test_shard_records_hold_the_checksum_of_every_record(
    plan: Plan,
    split_manifest: Callable[..., SplitManifest],
    split_values: Callable[..., dict[str, np.ndarray]],
    write_split: Callable[..., Path],
    quick_folder: Path,
) -> None:
    manifest = split_manifest(**plan.layout)
    values = split_values(manifest, plan.seed)
    with tempfile.TemporaryDirectory(dir=quick_folder) as store:
        reader = SplitReader(write_split(Path(store), manifest, values, batches=plan.batches))
        for shard in range(manifest.shards):
            first = shard * manifest.shard_size
            for spec in manifest.arrays:
                part = _part(values[spec.name], first, first + manifest.shard_size, spec.views)
                rows = part.reshape(-1, *spec.record_shape)
                expected = tuple(google_crc32c.value(row.tobytes()) for row in rows)
                assert reader.shard_record(shard).arrays[spec.name].crc32c == expected


@given(plan=plans)
@examples
def test_shard_records_hold_the_range_of_every_array(
    plan: Plan,
    split_manifest: Callable[..., SplitManifest],
    split_values: Callable[..., dict[str, np.ndarray]],
    write_split: Callable[..., Path],
    quick_folder: Path,
) -> None:
    manifest = split_manifest(**plan.layout)
    values = split_values(manifest, plan.seed)
    with tempfile.TemporaryDirectory(dir=quick_folder) as store:
        reader = SplitReader(write_split(Path(store), manifest, values, batches=plan.batches))
        for shard in range(manifest.shards):
            record = reader.shard_record(shard)
            for spec in manifest.arrays:
                part = _part(values[spec.name], record.first, record.first + record.records, spec.views)
                numbers = spec.as_tensor(np.ascontiguousarray(part))
                held = record.arrays[spec.name]
                assert (held.minimum, held.maximum) == (float(numbers.min()), float(numbers.max()))

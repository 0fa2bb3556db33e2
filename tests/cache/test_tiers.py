"""Device, host, stream: the same batches from each, shared out over processes, taken up in the middle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cache import Residency, SplitManifest, SplitReader, Tier, TokenBatch, TokenDataset, TokenLoader
from cache.resident import ResidentTokens
from configs import UserError

SplitOf = Callable[..., SplitManifest]
ValuesOf = Callable[..., dict[str, np.ndarray]]
Writing = Callable[..., Path]
RECORDS = 101
LEFT_OUT = (0, 7, 8, 50, 100)
TIERS: tuple[Tier, ...] = ("device", "host", "stream")


@pytest.fixture(scope="module")
def manifest(split_manifest: SplitOf) -> SplitManifest:
    return split_manifest(records=RECORDS, shard_size=8, dtype="int8", dim=70)


@pytest.fixture(scope="module")
def values(manifest: SplitManifest, split_values: ValuesOf) -> dict[str, np.ndarray]:
    values = split_values(manifest)
    values["labels"][list(LEFT_OUT)] = -1
    return values


@pytest.fixture(scope="module")
def folder(
    manifest: SplitManifest,
    values: dict[str, np.ndarray],
    tmp_path_factory: pytest.TempPathFactory,
    write_split: Writing,
) -> Path:
    """101 int8 records in 13 shards, five of them left out. Do not change it."""
    return write_split(tmp_path_factory.mktemp("store"), manifest, values)


@pytest.fixture(params=[False, True], ids=["trusting", "verifying"])
def dataset(request: pytest.FixtureRequest, folder: Path) -> TokenDataset:
    return TokenDataset(SplitReader(folder), 3, ["patches", "prefix", "mean"], verify=request.param)


@pytest.fixture(scope="module")
def quick(folder: Path) -> TokenDataset:
    return TokenDataset(SplitReader(folder), 3, ["mean"])


def loader(
    dataset: TokenDataset, tier: Tier, batch_size: int = 4, *, records: int = 40, **settings: object
) -> TokenLoader:
    """A loader that may stream through the memory of so many records."""
    residency = Residency(tier, records * dataset.record_bytes)
    return TokenLoader(dataset, batch_size, residency=residency, **settings)


def order(loader: TokenLoader) -> list[list[int]]:
    return [batch.index.tolist() for batch in loader]


def flat(batches: list[list[int]]) -> list[int]:
    return [record for batch in batches for record in batch]


READABLE = [record for record in range(RECORDS) if record not in LEFT_OUT]


@pytest.mark.parametrize("tier", TIERS)
def test_every_tier_gives_what_is_stored(
    tier: Tier, dataset: TokenDataset, values: dict[str, np.ndarray]
) -> None:
    seen: list[TokenBatch] = list(loader(dataset, tier, shuffle=True))
    assert sorted(record for batch in seen for record in batch.index.tolist()) == READABLE
    for batch in seen:
        records = batch.index.numpy()
        np.testing.assert_array_equal(batch.labels, values["labels"][records])
        for kind in ("patches", "patches_scale", "prefix", "mean"):
            np.testing.assert_array_equal(getattr(batch, kind), values[f"block3/{kind}"][0, records])


def test_tokens_on_a_device_are_gathered_when_they_are_asked_for(
    dataset: TokenDataset, values: dict[str, np.ndarray]
) -> None:
    resident = ResidentTokens(dataset, torch.device("cpu"))
    items = [np.array([7, 2]), np.array([5, 5, 0])]
    for chosen, batch in zip(items, resident.select(items), strict=True):
        assert not {"patches", "prefix", "mean"} & set(vars(batch))
        assert batch.items.tolist() == chosen.tolist()
        records = batch.index.numpy()
        assert records.tolist() == dataset.records[chosen].tolist()
        for kind in ("patches", "patches_scale", "prefix", "mean"):
            np.testing.assert_array_equal(getattr(batch, kind), values[f"block3/{kind}"][0, records])
        moved = batch.to(torch.device("meta"))
        assert moved.patches is not None
        assert moved.patches.shape == batch.resident["patches"][: len(chosen)].shape


def test_nothing_is_gathered_of_an_epoch_without_batches(dataset: TokenDataset) -> None:
    assert not list(ResidentTokens(dataset, torch.device("cpu")).select([]))


def test_device_and_host_have_the_same_order(quick: TokenDataset) -> None:
    device, host = (loader(quick, tier, shuffle=True, seed=5) for tier in ("device", "host"))
    assert order(device) == order(host)


@pytest.mark.parametrize("drop_last", [False, True])
def test_streaming_with_memory_for_all_has_the_order_of_the_other_tiers(
    quick: TokenDataset, drop_last: bool
) -> None:
    settings = {"batch_size": 7, "shuffle": True, "drop_last": drop_last, "records": 200}
    streamed, host = (loader(quick, tier, **settings) for tier in ("stream", "host"))
    assert streamed.window == host.window
    assert order(streamed) == order(host)


def test_streaming_with_less_memory_has_another_order(quick: TokenDataset) -> None:
    streamed, host = (loader(quick, tier, shuffle=True) for tier in ("stream", "host"))
    assert streamed.window < host.window
    assert order(streamed) != order(host)


def test_too_little_memory_for_streaming_is_refused_with_what_is_needed(dataset: TokenDataset) -> None:
    with pytest.raises(
        UserError, match=r"too few to stream batches of 4 records of .*: give [\d,]+ bytes or more"
    ):
        loader(dataset, "stream", records=31)
    order(loader(dataset, "stream", records=32, shuffle=True))


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("processes", [2, 3, 5])
@pytest.mark.parametrize("shuffle", [False, True])
def test_processes_share_every_epoch_without_overlap_or_loss(
    quick: TokenDataset, tier: Tier, processes: int, shuffle: bool
) -> None:
    shares = [
        order(loader(quick, tier, 6, shuffle=shuffle, process=process, processes=processes, records=60))
        for process in range(processes)
    ]
    assert len({len(share) for share in shares}) == 1
    assert sorted(record for share in shares for record in flat(share)) == READABLE


@pytest.mark.parametrize("tier", TIERS)
def test_processes_together_take_whole_batches(quick: TokenDataset, tier: Tier) -> None:
    shares = [
        order(loader(quick, tier, 10, process=process, processes=3, records=90)) for process in range(3)
    ]
    sizes = [sum(len(part) for part in parts) for parts in zip(*shares, strict=True)]
    assert sizes == [10] * 9 + [6]


@pytest.mark.parametrize("tier", ["device", "host"])
def test_global_batches_do_not_depend_on_the_number_of_processes(quick: TokenDataset, tier: Tier) -> None:
    alone = order(loader(quick, tier, 10, shuffle=True))
    shares = [order(loader(quick, tier, 10, shuffle=True, process=p, processes=4)) for p in range(4)]
    together = [flat(list(parts)) for parts in zip(*shares, strict=True)]
    assert [sorted(batch) for batch in together] == [sorted(batch) for batch in alone]


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("given", [0, 1, 13, 24])
def test_an_epoch_can_be_taken_up_after_any_batch(
    quick: TokenDataset, tier: Tier, shuffle: bool, given: int
) -> None:
    first = loader(quick, tier, shuffle=shuffle)
    first.set_epoch(2)
    batches = iter(first)
    before = [next(batches).index.tolist() for _ in range(given)]
    state = first.state_dict() if given else {**first.state_dict(), "batch": 0}
    resumed = loader(quick, tier, shuffle=shuffle)
    resumed.load_state_dict(state)
    whole = loader(quick, tier, shuffle=shuffle)
    whole.set_epoch(2)
    assert before + order(resumed) == order(whole)


def test_the_epoch_after_a_resumed_one_is_whole(quick: TokenDataset) -> None:
    resumed = loader(quick, "stream", shuffle=True)
    resumed.load_state_dict({**resumed.state_dict(), "batch": 20})
    assert len(order(resumed)) == 4
    assert len(order(resumed)) == len(resumed) == 24


@pytest.mark.parametrize("change", [{"seed": 1}, {"batch_size": 5}, {"records": 60}, {"drop_last": True}])
def test_an_iteration_in_another_order_cannot_be_taken_up(
    quick: TokenDataset, change: dict[str, int]
) -> None:
    state = loader(quick, "stream", shuffle=True).state_dict()
    with pytest.raises(UserError, match="the batches cannot go on"):
        loader(quick, "stream", **{"shuffle": True, **change}).load_state_dict(state)


def test_a_resumed_stream_does_not_read_what_was_given(
    quick: TokenDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed = loader(quick, "stream", shuffle=True)
    resumed.load_state_dict({**resumed.state_dict(), "batch": 12})
    rows: list[int] = []
    read = SplitReader.read
    monkeypatch.setattr(
        SplitReader, "read", lambda self, *given: (rows.append(len(given[2])), read(self, *given))
    )
    assert len(flat(order(resumed))) == sum(rows) == len(READABLE) - 48


@pytest.mark.parametrize(
    ("tier", "said"),
    [
        ("device", "on cpu"),
        ("host", "in host memory"),
        ("stream", r"streamed from disk through .* of memory, mixed over about 24 of 96 records"),
    ],
)
def test_the_tier_is_said_in_a_line(quick: TokenDataset, tier: Tier, said: str) -> None:
    line = loader(quick, tier, shuffle=True).describe()
    assert "\n" not in line
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(line)

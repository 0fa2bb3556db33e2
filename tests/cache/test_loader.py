"""The fast path: every record once, in an order of its own, in memory that is used again."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cache import Residency, SplitManifest, SplitReader, Tier, TokenBatch, TokenDataset, TokenLoader
from cache.batch_buffers import BatchBuffers
from configs import UserError

SplitOf = Callable[..., SplitManifest]
ValuesOf = Callable[..., dict[str, np.ndarray]]
Writing = Callable[..., Path]
RECORDS = 41


@pytest.fixture(scope="module")
def values(split_manifest: SplitOf, split_values: ValuesOf) -> dict[str, np.ndarray]:
    return split_values(split_manifest(records=RECORDS, shard_size=8))


@pytest.fixture(scope="module", params=["zarr", "hdf5"])
def folder(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    values: dict[str, np.ndarray],
    split_manifest: SplitOf,
    write_split: Writing,
) -> Path:
    """41 records in six shards. Do not change it."""
    manifest = split_manifest(format=request.param, records=RECORDS, shard_size=8)
    return write_split(tmp_path_factory.mktemp("store"), manifest, values)


@pytest.fixture
def dataset(folder: Path) -> TokenDataset:
    return TokenDataset(SplitReader(folder), 3, ["patches", "mean"])


@pytest.fixture
def damaged(folder: Path, tmp_path: Path) -> TokenDataset:
    """A copy whose last shard has lost its patches after it was opened."""
    copy = shutil.copytree(folder, tmp_path / "train")
    dataset = TokenDataset(SplitReader(copy), 3, ["patches", "mean"])
    for path in (copy / "shards/00005.h5", copy / "block3/patches/c/0/5/0/0"):
        path.unlink(missing_ok=True)
    return dataset


Loading = Callable[..., TokenLoader]


@pytest.fixture(params=["device", "host", "stream"])
def loading(request: pytest.FixtureRequest) -> Loading:
    """`loading(dataset, batch_size, …)`: a loader of each tier; streaming has little memory."""
    tier: Tier = request.param

    def loader(dataset: TokenDataset, batch_size: int, **settings: object) -> TokenLoader:
        memory = (6 * min(batch_size, len(dataset)) + 10) * dataset.record_bytes
        return TokenLoader(dataset, batch_size, residency=Residency(tier, memory), **settings)

    return loader


def _index(loader: TokenLoader, epoch: int = 0) -> list[int]:
    loader.set_epoch(epoch)
    return [record for batch in loader for record in batch.index.tolist()]


def test_without_shuffling_records_come_in_their_order(loading: Loading, dataset: TokenDataset) -> None:
    assert _index(loading(dataset, 4)) == list(range(RECORDS))


def test_shuffled_every_record_comes_once_per_epoch(loading: Loading, dataset: TokenDataset) -> None:
    loader = loading(dataset, 4, shuffle=True)
    for epoch in range(3):
        assert sorted(_index(loader, epoch)) == list(range(RECORDS))


def test_same_seed_and_epoch_give_the_same_order(loading: Loading, dataset: TokenDataset) -> None:
    first, second = (loading(dataset, 4, shuffle=True, seed=3) for _ in range(2))
    assert _index(first, 2) == _index(second, 2)


def test_order_does_not_depend_on_the_epochs_before(loading: Loading, dataset: TokenDataset) -> None:
    fresh, used = (loading(dataset, 4, shuffle=True) for _ in range(2))
    _index(used, 0)
    assert _index(used, 1) == _index(fresh, 1)


def test_order_does_not_depend_on_the_global_generator(loading: Loading, dataset: TokenDataset) -> None:
    loader = loading(dataset, 4, shuffle=True)
    orders = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        orders.append(_index(loader))
    assert orders[0] == orders[1]


def test_another_epoch_gives_another_order(loading: Loading, dataset: TokenDataset) -> None:
    loader = loading(dataset, 4, shuffle=True)
    assert _index(loader, 0) != _index(loader, 1)


def test_another_seed_gives_another_order(loading: Loading, dataset: TokenDataset) -> None:
    orders = [_index(loading(dataset, 4, shuffle=True, seed=seed)) for seed in (0, 1)]
    assert orders[0] != orders[1]


@pytest.mark.parametrize(("batch_size", "sizes"), [(16, [16, 16, 9]), (41, [41]), (100, [41])])
def test_last_batch_holds_what_is_left(
    loading: Loading, dataset: TokenDataset, batch_size: int, sizes: list[int]
) -> None:
    loader = loading(dataset, batch_size)
    assert [len(batch) for batch in loader] == sizes
    assert len(loader) == len(sizes)


@pytest.mark.parametrize(("batch_size", "sizes"), [(16, [16, 16]), (41, [41])])
def test_partial_batch_can_be_dropped(
    loading: Loading, dataset: TokenDataset, batch_size: int, sizes: list[int]
) -> None:
    loader = loading(dataset, batch_size, drop_last=True)
    assert [len(batch) for batch in loader] == sizes
    assert len(loader) == len(sizes)


def _assert_right(batch: TokenBatch, values: dict[str, np.ndarray]) -> None:
    records = batch.index.numpy()
    np.testing.assert_array_equal(batch.patches, values["block3/patches"][0, records])
    np.testing.assert_array_equal(batch.mean, values["block3/mean"][0, records])
    np.testing.assert_array_equal(batch.labels, values["labels"][records])


def test_batches_hold_the_records_that_they_name(
    loading: Loading, dataset: TokenDataset, values: dict[str, np.ndarray]
) -> None:
    for batch in loading(dataset, 4, shuffle=True):
        _assert_right(batch, values)


def test_batches_that_are_kept_are_not_overwritten(
    loading: Loading, dataset: TokenDataset, values: dict[str, np.ndarray]
) -> None:
    loader = loading(dataset, 4, shuffle=True)
    for batch in [*loader, *loader]:
        _assert_right(batch, values)


def test_part_of_a_batch_that_is_kept_is_not_overwritten(
    loading: Loading, dataset: TokenDataset, values: dict[str, np.ndarray]
) -> None:
    loader = loading(dataset, 4, shuffle=True)
    kept = [(int(batch.index[-1]), batch.patches[-1]) for batch in loader]
    for record, patches in kept:
        np.testing.assert_array_equal(patches, values["block3/patches"][0, record])


def test_memory_of_dropped_batches_is_used_again(loading: Loading, dataset: TokenDataset) -> None:
    loader = loading(dataset, 2)
    addresses = {batch.patches.data_ptr() for _ in range(2) for batch in loader}
    assert len(addresses) <= 5  # two ahead, one being read, one in use, and the one before it
    assert len(loader) > 10


def test_batches_that_several_threads_copy_hold_the_records_that_they_name(
    dataset: TokenDataset, values: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cache.loader.copying_threads", lambda _: 3)
    loader = TokenLoader(dataset, 4, shuffle=True, residency=Residency("host", 0))
    batches = list(loader)
    assert sorted(torch.cat([batch.index for batch in batches]).tolist()) == list(range(RECORDS))
    assert len(batches[-1].labels) == 1  # fewer records than threads
    for batch in batches:
        _assert_right(batch, values)


def test_damage_that_one_of_several_copying_threads_meets_is_raised(
    damaged: TokenDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cache.loader.copying_threads", lambda _: 3)
    with pytest.raises(UserError):
        list(TokenLoader(damaged, 4, residency=Residency("host", 0)))


def test_a_batch_on_the_device_is_given_as_it_is(
    dataset: TokenDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device asked for without a number is not the one that its tensors name, but the same."""
    loader = TokenLoader(dataset, 4, device=torch.device("cpu", 0), residency=Residency("host", 0))
    made = list(loader)
    monkeypatch.setattr(loader, "_from_tier", lambda _: iter(made))
    assert all(given is batch for given, batch in zip(loader, made, strict=True))


def test_page_locked_buffer_in_use_is_not_handed_out(
    dataset: TokenDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = torch.empty  # page-locking needs a GPU: ordinary memory stands for it
    monkeypatch.setattr(torch, "empty", lambda *shape, pin_memory, **named: empty(*shape, **named))
    buffers = BatchBuffers(dataset, 2, pinned=True)
    first = dataset.gather(np.array([0, 1]), buffers.take(2))
    second = dataset.gather(np.array([2, 3]), buffers.take(2))
    assert first.patches.data_ptr() != second.patches.data_ptr()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_batches_on_a_gpu_hold_the_records_that_they_name(
    loading: Loading, dataset: TokenDataset, values: dict[str, np.ndarray]
) -> None:
    for batch in list(loading(dataset, 4, shuffle=True, device=torch.device("cuda"))):
        assert batch.patches.is_cuda
        _assert_right(batch.to(torch.device("cpu")), values)


def test_error_of_the_reading_thread_is_raised(loading: Loading, damaged: TokenDataset) -> None:
    with pytest.raises(UserError, match=r"00005\.h5|patches/c/0/5/0/0"):
        list(loading(damaged, 4))


@pytest.mark.parametrize("loading", ["host", "stream"], indirect=True)  # on the device, all is read at first
def test_batches_before_an_error_are_given(loading: Loading, damaged: TokenDataset) -> None:
    batches = iter(loading(damaged, 8))
    assert [next(batches).index[0].item() for _ in range(5)] == [0, 8, 16, 24, 32]


def test_iteration_that_failed_ends_its_thread(loading: Loading, damaged: TokenDataset) -> None:
    with pytest.raises(UserError):
        list(loading(damaged, 4))
    assert _reading_threads() == []


def _reading_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("token-loader")]


def test_abandoned_iteration_ends_its_thread(loading: Loading, dataset: TokenDataset) -> None:
    def take_two() -> None:
        for number, _ in enumerate(loading(dataset, 2)):
            if number == 1:
                break

    taking = threading.Thread(target=take_two, daemon=True)
    taking.start()
    taking.join(timeout=30)
    assert not taking.is_alive()
    assert _reading_threads() == []


def test_loader_can_be_iterated_again_after_it_was_abandoned(loading: Loading, dataset: TokenDataset) -> None:
    loader = loading(dataset, 4)
    next(iter(loader))
    assert _index(loader) == list(range(RECORDS))

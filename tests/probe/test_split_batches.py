"""Batches of several blocks of the same images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cache import Residency, SplitReader, Store, TokenDataset
from configs import UserError
from probe import split_batches
from probe.split_batches import SplitBatches

CPU = torch.device("cpu")
RESIDENCIES = {
    "device": Residency("device", 1),
    "host": Residency("host", 1),
    "stream": Residency("stream", 2**25),
    "stream, mixed in a window": Residency("stream", 100_000),
}


@pytest.fixture(scope="module")
def split(make_store: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> SplitReader:
    """600 images, blocks 1 and 3."""
    folder = tmp_path_factory.mktemp("stores") / "deep"
    return Store(make_store(folder, blocks=(1, 3), splits={"train": 600})).split("animals", "train")


@pytest.fixture(params=RESIDENCIES)
def residency(request: pytest.FixtureRequest) -> Residency:
    return RESIDENCIES[request.param]


def _batches(split: SplitReader, residency: Residency, **settings: Any) -> SplitBatches:
    blocks = [TokenDataset(split, block, {"patches"}) for block in (1, 3)]
    return SplitBatches(blocks, 16, residency=residency, device=CPU, **settings)


@pytest.mark.parametrize("training", [True, False])
def test_all_blocks_of_a_batch_are_of_the_same_images(
    split: SplitReader, residency: Residency, training: bool
) -> None:
    for first, second in _batches(split, residency, training=training).epoch(3):
        assert torch.equal(first.index, second.index)
        assert torch.equal(first.labels, second.labels)


@pytest.mark.parametrize("tier", ["device", "host"])
def test_blocks_of_unequal_width_are_of_the_same_images(split: SplitReader, tier: str) -> None:
    blocks = [TokenDataset(split, 1, {"patches"}), TokenDataset(split, 3, {"mean"})]
    batches = SplitBatches(blocks, 16, residency=RESIDENCIES[tier], device=CPU, training=True)
    assert all(torch.equal(wide.index, narrow.index) for wide, narrow in batches)


def test_blocks_of_unequal_width_are_not_streamed_as_each_would_have_its_own_order(
    split: SplitReader,
) -> None:
    blocks = [TokenDataset(split, 1, {"patches"}), TokenDataset(split, 3, {"mean"})]
    with pytest.raises(UserError, match="different widths cannot be streamed: use --tier host"):
        SplitBatches(blocks, 16, residency=RESIDENCIES["stream"], device=CPU)


def test_each_block_gives_its_own_tokens(split: SplitReader) -> None:
    first, second = next(iter(_batches(split, RESIDENCIES["host"])))
    assert first.patches is not None
    assert second.patches is not None
    assert not torch.equal(first.patches, second.patches)


def test_training_leaves_out_the_last_small_batch_and_measuring_does_not(split: SplitReader) -> None:
    trained, measured = (_batches(split, RESIDENCIES["host"], training=flag) for flag in (True, False))
    assert (len(trained), len(measured)) == (37, 38)
    assert sum(len(batch[0].labels) for batch in trained) == 37 * 16
    assert sum(len(batch[0].labels) for batch in measured) == 600


def test_epochs_differ_when_training_and_not_when_measuring(split: SplitReader) -> None:
    def first_images(epoch: int, *, training: bool) -> list[int]:
        batches = _batches(split, RESIDENCIES["host"], training=training)
        return next(iter(batches.epoch(epoch)))[0].index.tolist()

    assert first_images(0, training=True) != first_images(1, training=True)
    assert first_images(0, training=False) == first_images(1, training=False)


def test_the_order_is_the_seeds(split: SplitReader) -> None:
    def images(seed: int) -> list[int]:
        return next(iter(_batches(split, RESIDENCIES["host"], training=True, seed=seed)))[0].index.tolist()

    assert images(1) == images(1) != images(2)


@pytest.mark.parametrize("training", [True, False])
def test_of_several_processes_each_gets_its_share(
    split: SplitReader, residency: Residency, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_process(number: int, processes: int) -> list[torch.Tensor]:
        place = type("Place", (), {"process_index": number, "num_processes": processes})
        monkeypatch.setattr(split_batches, "launch", lambda: place)
        return [batch[0].index for batch in _batches(split, residency, training=training)]

    shares = [of_process(number, 3) for number in range(3)]
    sizes = [len(batch) for batch in of_process(0, 1)]
    together = [torch.cat(parts) for parts in zip(*shares, strict=True)]
    assert [len(batch) for batch in together] == sizes
    given = torch.cat(together).tolist()
    assert len(set(given)) == len(given)


def test_several_blocks_share_the_memory_for_streaming(split: SplitReader) -> None:
    described = _batches(split, RESIDENCIES["stream"]).describe()
    assert "through 16.8 MB of memory" in described
    assert described.endswith("(each of 2 blocks)")

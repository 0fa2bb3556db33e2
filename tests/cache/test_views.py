"""A split of several views: any of them, all of them, or one drawn for each record and epoch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cache import Residency, SplitManifest, SplitReader, TokenDataset, TokenLoader
from configs import UserError

RECORDS, VIEWS = 40, 3

RESIDENCIES = {
    "device": Residency("device", 0),
    "host": Residency("host", 0),
    "stream": Residency("stream", 2000),
}


@pytest.fixture(scope="module")
def split(
    tmp_path_factory: pytest.TempPathFactory,
    split_manifest: Callable[..., SplitManifest],
    split_values: Callable[..., dict[str, np.ndarray]],
    write_split: Callable[..., Path],
) -> SplitReader:
    """Record i has the patches 100 · view + i in each view; record 7 could not be read."""
    manifest = split_manifest(records=RECORDS, shard_size=16, views=VIEWS)
    values = split_values(manifest)
    numbers = 100 * np.arange(VIEWS)[:, None] + np.arange(RECORDS)
    values["block3/patches"] = np.broadcast_to(
        numbers[..., None, None], values["block3/patches"].shape
    ).astype(np.float16)
    values["labels"][7] = -1
    return SplitReader(write_split(tmp_path_factory.mktemp("views") / "tiny", manifest, values))


def epoch(loader: TokenLoader, number: int) -> tuple[np.ndarray, np.ndarray]:
    """The records of an epoch in their order, and the view of each."""
    loader.set_epoch(number)
    records, patches = [], []
    for batch in loader:
        assert batch.patches is not None
        records.append(batch.index.clone())
        patches.append(batch.patches[:, 0, 0].clone())
    index = torch.cat(records).numpy()
    views, rest = np.divmod(torch.cat(patches).numpy().astype(np.int64), 100)
    assert np.array_equal(rest, index)
    return index, views


def drawing(split: SplitReader, tier: str = "host", seed: int = 0, **settings: object) -> TokenLoader:
    dataset = TokenDataset(split, 3, ["patches"], view=None, verify=True, **settings)
    return TokenLoader(dataset, 8, shuffle=True, seed=seed, residency=RESIDENCIES[tier], draw_views=True)


@pytest.mark.parametrize("tier", RESIDENCIES)
def test_an_epoch_of_drawn_views_gives_every_readable_record_once(split: SplitReader, tier: str) -> None:
    loader = drawing(split, tier)
    records, views = epoch(loader, 0)
    assert sorted(records) == [record for record in range(RECORDS) if record != 7]
    assert set(views) == set(range(VIEWS))
    assert len(loader) == 5


@pytest.mark.parametrize("tier", RESIDENCIES)
def test_the_draw_follows_from_seed_epoch_and_record_in_every_tier(split: SplitReader, tier: str) -> None:
    for number in range(3):
        wanted, found = epoch(drawing(split), number), epoch(drawing(split, tier), number)
        assert dict(zip(*found, strict=True)) == dict(zip(*wanted, strict=True))


def test_other_epochs_and_seeds_draw_other_views(split: SplitReader) -> None:
    draws = [epoch(drawing(split, seed=seed), number) for seed in (0, 1) for number in (0, 1)]
    by_record = {tuple(views[np.argsort(records)]) for records, views in draws}
    assert len(by_record) == len(draws)


def test_a_record_is_drawn_in_the_same_view_whatever_else_is_read(split: SplitReader) -> None:
    whole = dict(zip(*epoch(drawing(split), 2), strict=True))
    some = dict(zip(*epoch(drawing(split, keep=np.arange(RECORDS) % 2 == 0), 2), strict=True))
    assert some.items() <= whole.items()
    assert len(some) == RECORDS // 2


@pytest.mark.parametrize("tier", RESIDENCIES)
def test_all_views_are_items_of_their_own(split: SplitReader, tier: str) -> None:
    dataset = TokenDataset(split, 3, ["patches"], view=None)
    loader = TokenLoader(dataset, 8, shuffle=True, residency=RESIDENCIES[tier])
    records, views = epoch(loader, 0)
    assert len(dataset) == len(records) == VIEWS * (RECORDS - 1)
    assert len(set(zip(records.tolist(), views.tolist(), strict=True))) == len(records)


def test_an_epoch_goes_on_in_the_views_that_it_began_with(split: SplitReader) -> None:
    loader = drawing(split)
    given = [batch.patches.clone() for batch in loader]
    loader.load_state_dict({**loader.state_dict(), "batch": 2})
    assert all(map(torch.equal, (batch.patches for batch in loader), given[2:]))


def test_an_epoch_of_drawn_views_does_not_go_on_without_drawing(split: SplitReader) -> None:
    plain = TokenLoader(TokenDataset(split, 3, ["patches"]), 8, shuffle=True, residency=RESIDENCIES["host"])
    with pytest.raises(UserError, match="draw_views"):
        plain.load_state_dict(drawing(split).state_dict())


def test_processes_share_the_drawn_views(split: SplitReader) -> None:
    dataset = TokenDataset(split, 3, ["patches"], view=None)
    settings = {"shuffle": True, "residency": RESIDENCIES["host"], "draw_views": True, "processes": 2}
    shares = [epoch(TokenLoader(dataset, 8, process=process, **settings), 1) for process in (0, 1)]
    together = {record: view for share in shares for record, view in zip(*share, strict=True)}
    assert together == dict(zip(*epoch(drawing(split), 1), strict=True))

"""A plan: all costs in one place, to be printed or written as JSON."""

from __future__ import annotations

from typing import Literal, get_args

from cache import Tier, TokenDtype
from configs import FrozenModel
from extract.planning.costs import Costs, Stage, break_even
from extract.planning.rates import Rates

BlockChoice = Literal["last", "asked", "all"]


class TierPlan(FrozenModel):
    """Reading from one tier: whether it holds the tokens, and the seconds of an epoch."""

    fits: bool
    epoch_seconds: float


class DtypePlan(FrozenModel):
    """Storing tokens in one dtype and probing them. All but bytes on the disk is for the blocks asked for."""

    bytes: dict[BlockChoice, int]
    """Of all splits."""
    fits_disk: dict[BlockChoice, bool]
    extract_seconds: float
    slowest: Stage
    probe_bytes: int
    """That an epoch reads."""
    tiers: dict[Tier, TierPlan]
    tier: Tier
    """The first that holds the tokens."""
    break_even_epochs: int | None
    """From how many epochs on extracting is no slower than the backbone in every epoch; None: never."""
    total_seconds: float
    """Extraction and all epochs."""


class Plan(FrozenModel):
    """What an extraction costs in every dtype, and what running the backbone in every epoch would cost."""

    backbone: str
    source: str
    dataset: str
    images: dict[str, int]
    views: dict[str, int]
    """Of each image of a split."""
    part: str
    """Whose seconds of extraction these are; bytes are of all parts."""
    train_split: str
    blocks: dict[BlockChoice, tuple[int, ...]]
    grid: tuple[int, ...]
    """Of the tokens of the last block asked for, as `dim`."""
    dim: int
    prefix: tuple[str, ...]
    dtype: TokenDtype
    store: str
    stored_bytes: int
    """What the store holds of the splits already."""
    rates: Rates
    origins: dict[str, str]
    probe_epochs: int
    online_epoch_seconds: float
    online_total_seconds: float
    dtypes: dict[TokenDtype, DtypePlan]

    @property
    def missing_bytes(self) -> int:
        """What the extraction would still write."""
        return max(0, self.dtypes[self.dtype].bytes["asked"] - self.stored_bytes)


def make_plan(costs: Costs, *, probe_epochs: int, stored_bytes: int) -> Plan:
    """Put `costs` together. `stored_bytes`: what the store holds already, in the room that it takes up."""
    work, machine = costs.work, costs.machine
    geometry = work.architecture.geometry
    depth = len(geometry.blocks)
    blocks: dict[BlockChoice, tuple[int, ...]] = {
        "last": (depth - 1,),
        "asked": work.blocks,
        "all": tuple(range(depth)),
    }
    room = (machine.rates.disk_free_bytes or 0) + stored_bytes
    dtypes: tuple[TokenDtype, ...] = get_args(TokenDtype)
    return Plan(
        backbone=work.architecture.name,
        source=work.architecture.source,
        dataset=work.dataset,
        images=work.images,
        views={split: work.views(split) for split in work.images},
        part=str(work.options.part),
        train_split=costs.train_split,
        blocks=blocks,
        grid=geometry.blocks[work.blocks[-1]].grid,
        dim=geometry.blocks[work.blocks[-1]].dim,
        prefix=geometry.prefix,
        dtype=work.options.dtype,
        store=str(work.store),
        stored_bytes=stored_bytes,
        rates=machine.rates,
        origins=machine.origins,
        probe_epochs=probe_epochs,
        online_epoch_seconds=costs.online_epoch(),
        online_total_seconds=probe_epochs * costs.online_epoch(),
        dtypes={dtype: _dtype_plan(costs, dtype, blocks, room, probe_epochs) for dtype in dtypes},
    )


def _dtype_plan(
    costs: Costs,
    dtype: TokenDtype,
    blocks: dict[BlockChoice, tuple[int, ...]],
    room: float,
    probe_epochs: int,
) -> DtypePlan:
    sizes = {choice: costs.store_bytes(chosen, dtype) for choice, chosen in blocks.items()}
    seconds, slowest = costs.extraction(dtype)
    tiers: dict[Tier, TierPlan] = {
        tier: TierPlan(fits=costs.fits(tier, dtype), epoch_seconds=epoch)
        for tier in _TIERS
        if (epoch := costs.epoch(tier, dtype)) is not None
    }
    tier = next(tier for tier, found in tiers.items() if found.fits)
    epoch = tiers[tier].epoch_seconds
    return DtypePlan(
        bytes=sizes,
        fits_disk={choice: size <= room for choice, size in sizes.items()},
        extract_seconds=seconds,
        slowest=slowest,
        probe_bytes=costs.probe_bytes(dtype),
        tiers=tiers,
        tier=tier,
        break_even_epochs=break_even(seconds, epoch, costs.online_epoch()),
        total_seconds=seconds + probe_epochs * epoch,
    )


_TIERS: tuple[Tier, ...] = get_args(Tier)
"""From the fastest to the one that holds anything."""

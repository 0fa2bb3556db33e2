"""What a derived store will hold, laid out before anything is written."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from cache.arrays import RECORD_ARRAYS, ArraySpec, array_name
from cache.derive_options import DeriveOptions
from cache.derived_arrays import MEANS, derived_arrays
from cache.grid import Pooling, divides, pooled_grid
from cache.manifest import BlockGeometry, SplitManifest, StoreManifest
from cache.split_reader import SplitReader
from cache.store import Store
from cache.subset import Subset, choose_subset
from configs import UserError


@dataclass(frozen=True)
class SplitPlan:
    """One split to derive: where it comes from, and what it will be."""

    source: SplitReader
    manifest: SplitManifest
    subset: Subset
    pooling: Pooling | None

    @cached_property
    def copied(self) -> tuple[str, ...]:
        """The arrays of tokens and thumbnails whose records are the source's, byte for byte."""
        recomputed = () if self.pooling is None else MEANS
        return tuple(
            array.name
            for array in self.manifest.arrays
            if array in self.source.manifest.arrays and array not in RECORD_ARRAYS
            if array.name.rpartition("/")[2] not in recomputed
        )

    def computed(self, block: int) -> set[str]:
        """Which of patches, prefix, mean and mean_normed of the block are not copied."""
        kinds = ("patches", "prefix", *MEANS)
        held = {array.name for array in self.manifest.arrays} - set(self.copied)
        return {kind for kind in kinds if array_name(block, kind) in held}


def plan_store(source: StoreManifest, options: DeriveOptions) -> StoreManifest:
    """The new store's manifest: the same backbone, and in `derived` how its tokens were changed."""
    backbone, dtype = source.backbone, options.dtype or source.dtype
    exact = source.dtype == "float32"  # the cast tokens are then those that extraction stores
    change = [] if exact or dtype == source.dtype else [f"cast {source.dtype} → {dtype}"]
    if options.pool is not None:
        blocks = tuple(_pooled_block(block, options.pool) for block in backbone.blocks)
        backbone = backbone.model_copy(update={"blocks": blocks})
        change = [f"grid pooled by {options.pool}" + ("" if exact else f" from {source.dtype}")]
    derived = (*source.derived, *change)
    return source.model_copy(update={"backbone": backbone, "dtype": dtype, "derived": derived})


def _pooled_block(block: BlockGeometry, factor: int) -> BlockGeometry:
    """The block's geometry; a block that cannot be pooled is not in the store, and keeps its own."""
    if not divides(factor, block.grid):
        return block
    return block.model_copy(update={"grid": pooled_grid(block.grid, factor)})


def plan_splits(store: Store, planned: StoreManifest, options: DeriveOptions) -> list[SplitPlan]:
    """Every split that is asked for, for the store `planned`. Raises `UserError` where one cannot be had."""
    splits = _chosen_splits(store, options)
    if options.samples is not None and len(splits) > 1:
        names = ", ".join(split.name for split in splits)
        raise UserError(f"--samples lists samples of one split, not of {names}: add --dataset and --split")
    choice = options.subset()
    pooling = None
    if options.pool is not None:
        grids = tuple(block.grid for block in store.manifest.backbone.blocks)
        pooling = Pooling(options.pool, grids, store.final_norm)
    plans = []
    for split in splits:
        split.require_complete()
        arrays = derived_arrays(split, planned, pooling, options)
        subset = choose_subset(split, choice)
        plans.append(SplitPlan(split, _split_manifest(split, subset, arrays, options), subset, pooling))
    return plans


def _chosen_splits(store: Store, options: DeriveOptions) -> list[SplitReader]:
    datasets = list(store.splits()) if options.dataset is None else [store.dataset(options.dataset)]
    held = [(dataset, split) for dataset in datasets for split in store.splits()[dataset]]
    chosen = [(dataset, split) for dataset, split in held if options.split in (None, split)]
    if not chosen:
        wanted = "" if options.split is None else f", and no split '{options.split}'"
        raise UserError(f"{store.folder} holds {', '.join(map('/'.join, held)) or 'no split yet'}{wanted}")
    return [store.split(dataset, split) for dataset, split in chosen]


def _split_manifest(
    split: SplitReader, subset: Subset, arrays: tuple[ArraySpec, ...], options: DeriveOptions
) -> SplitManifest:
    changes = {
        "classes": subset.classes,
        "records": len(subset.records),
        "order": subset.order,
        "order_seed": subset.order_seed,
        "format": options.format or split.manifest.format,
        "shard_size": min(options.shard_size or split.manifest.shard_size, len(subset.records)),
        "arrays": arrays + RECORD_ARRAYS,
    }
    return split.manifest.model_copy(update=changes)

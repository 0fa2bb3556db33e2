"""Which arrays of a split a derived one keeps."""

from __future__ import annotations

from cache.arrays import ArraySpec, array_name, token_arrays
from cache.derive_options import KEEPABLE, DeriveOptions
from cache.grid import Pooling, pooled_grid
from cache.manifest import StoreManifest
from cache.split_reader import SplitReader
from cache.thumbnails import THUMBNAILS
from configs import UserError

MEANS = ("mean", "mean_normed")


def derived_arrays(
    split: SplitReader, planned: StoreManifest, pooling: Pooling | None, options: DeriveOptions
) -> tuple[ArraySpec, ...]:
    """The token arrays that are kept, as extraction orders them, and the thumbnails."""
    arrays: list[ArraySpec] = []
    for block in _chosen_blocks(split, options.blocks, len(planned.backbone.blocks)):
        kinds = _kept_kinds(split, block, options.keep)
        if pooling is not None:
            _require_poolable(split, block, kinds, pooling)
        geometry = planned.backbone.blocks[block]
        specs = token_arrays(
            block,
            num_tokens=geometry.num_tokens if "patches" in kinds else 0,
            num_prefix=len(planned.backbone.prefix) if "prefix" in kinds else 0,
            dim=geometry.dim,
            dtype=planned.dtype,
            views=split.manifest.views,
            normed_mean=_holds(split, block, "mean_normed"),
        )
        arrays += [spec for spec in specs if "mean" in kinds or spec.name.split("/")[1] not in MEANS]
    if options.dtype is not None and all(spec.name.split("/")[1] in MEANS for spec in arrays):
        raise UserError("--dtype is for patches and prefix, of which nothing is kept: means are float32")
    return (*arrays, *_thumbnails(split, options.keep))


def _chosen_blocks(split: SplitReader, text: str | None, depth: int) -> list[int]:
    held = split.manifest.blocks
    if text is None:
        return list(held)
    try:
        asked = map(int, text.split(","))
        numbers = {number + depth if -depth <= number < 0 else number for number in asked}
    except ValueError:
        raise UserError(f"--blocks {text}: give numbers such as 5,11") from None
    for number in sorted(numbers - set(held)):
        blocks = ", ".join(map(str, held))
        raise UserError(f"--blocks {text}: {split.name} holds block {blocks}, not block {number}")
    return sorted(numbers)


def _thumbnails(split: SplitReader, keep: tuple[str, ...]) -> list[ArraySpec]:
    held = [array for array in split.manifest.arrays if array.name == THUMBNAILS]
    if THUMBNAILS in keep and not held:
        raise UserError(f"--keep {','.join(keep)}: {split.name} holds no thumbnails")
    return held if not keep or THUMBNAILS in keep else []


def _holds(split: SplitReader, block: int, kind: str) -> bool:
    name = array_name(block, kind)
    return any(array.name == name for array in split.manifest.arrays)


def _kept_kinds(split: SplitReader, block: int, keep: tuple[str, ...]) -> set[str]:
    held = {kind for kind in KEEPABLE if _holds(split, block, kind)}
    for kind in sorted(set(keep) - held - {THUMBNAILS}):
        kinds = ", ".join(sorted(held))
        raise UserError(f"--keep {','.join(keep)}: {split.name} holds {kinds} of block {block}, no {kind}")
    return set(keep) - {THUMBNAILS} if keep else held


def _require_poolable(split: SplitReader, block: int, kinds: set[str], pooling: Pooling) -> None:
    if kinds == {"prefix"}:
        raise UserError(f"--pool {pooling.factor} changes patches and means, of which nothing is kept")
    if not _holds(split, block, "patches"):
        raise UserError(f"--pool {pooling.factor}: {split.name} holds no patches of block {block} to pool")
    pooled_grid(pooling.grids[block], pooling.factor)

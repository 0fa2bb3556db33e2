"""The tokens of a derived store: records of the old one, checked, and changed where the plan says so."""

from __future__ import annotations

import numpy as np
import torch

from cache.arrays import array_name, scale_name
from cache.derive_plan import SplitPlan
from cache.encode import decode, encode, refuse_unless_finite
from cache.grid import Pooling, pool_grid
from cache.shard_writer import ShardWriter
from cache.split_reader import SplitReader


@torch.inference_mode()
def write_tokens(plan: SplitPlan, shard: ShardWriter, first: int, positions: np.ndarray) -> None:
    """Write every token array of consecutive records, from record `first` of the shard.

    `positions` (m,): their places in the plan's subset. Raises `UserError` where the source is damaged, or a
    token does not fit the new dtype.
    """
    records = plan.subset.records[positions]
    for name in plan.copied:
        _copy(plan.source, shard, name, first, records)
    for block in plan.manifest.blocks:
        tokens = _computed(plan, block, records)
        for mean in set(tokens) & {"mean", "mean_normed"}:
            tokens[mean][:, plan.subset.labels[positions] < 0] = 0  # as extraction stores them
        for kind, values in tokens.items():
            _encode(plan, shard, array_name(block, kind), first, values)


def _copy(source: SplitReader, shard: ShardWriter, name: str, first: int, records: np.ndarray) -> None:
    stored = _stored(source, name, records)
    if source.manifest.array(name).dtype != "int8":
        return shard.write(name, first, stored)
    tokens = decode(torch.from_numpy(stored), torch.from_numpy(_stored(source, scale_name(name), records)))
    minimum, maximum = torch.aminmax(tokens)  # a shard's record states the tokens' range, not that of codes
    shard.write(name, first, stored, minimum=minimum.item(), maximum=maximum.item())


def _encode(plan: SplitPlan, shard: ShardWriter, name: str, first: int, tokens: torch.Tensor) -> None:
    """Write `tokens`, float32 (V, m, …), in the array's dtype."""
    dtype = plan.manifest.array(name).dtype
    assert dtype != "int64"
    assert dtype != "uint8"
    encoded = encode(tokens, dtype)
    refuse_unless_finite(encoded, tokens, name, dtype)
    ends = {"minimum": encoded.minimum.item(), "maximum": encoded.maximum.item()}
    shard.write(name, first, encoded.tokens.numpy(), **ends)
    if encoded.scales is not None:
        shard.write(scale_name(name), first, encoded.scales.numpy())


def _computed(plan: SplitPlan, block: int, records: np.ndarray) -> dict[str, torch.Tensor]:
    """The block's arrays that are not copied, by kind: float32 (V, m, …)."""
    kinds = plan.computed(block)
    found = {}
    if "prefix" in kinds:
        found["prefix"] = _decoded(plan.source, array_name(block, "prefix"), records)
    if kinds - {"prefix"}:
        found["patches"] = _decoded(plan.source, array_name(block, "patches"), records)
    if plan.pooling is not None and kinds - {"prefix"}:
        found |= _pooled(found["patches"], block, plan.pooling, normed="mean_normed" in kinds)
    return {kind: tokens for kind, tokens in found.items() if kind in kinds}


def _pooled(patches: torch.Tensor, block: int, pooling: Pooling, *, normed: bool) -> dict[str, torch.Tensor]:
    """Patches (V, m, N, D) → coarser ones, and the means of these."""
    coarse = pool_grid(patches, pooling.grids[block], pooling.factor)
    found = {"patches": coarse, "mean": coarse.mean(dim=-2)}
    if normed:
        assert pooling.norm is not None
        found["mean_normed"] = pooling.norm(coarse).mean(dim=-2)
    return found


def _decoded(source: SplitReader, name: str, records: np.ndarray) -> torch.Tensor:
    """Records of a token array in float32, (V, m, …)."""
    array = source.manifest.array(name)
    scales = None
    if array.dtype == "int8":
        scales = torch.from_numpy(_stored(source, scale_name(name), records))
    return decode(array.as_tensor(_stored(source, name, records)), scales)


def _stored(source: SplitReader, name: str, records: np.ndarray) -> np.ndarray:
    """Records as stored, (V, m, …), or (m, …) without views. Raises `UserError` where one is damaged."""
    array = source.manifest.array(name)
    found = np.empty(array.shape(len(records)), array.storage_dtype)
    for view, rows in enumerate(found if array.views else found[np.newaxis]):
        source.gather(name, records, rows, view)
        source.require_sound(name, records, rows, view)
    return found

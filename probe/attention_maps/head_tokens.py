"""The tokens that several heads read, from a store in one pass, or from images through the backbone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from cache import FinalNorm, Residency, SplitReader, TokenArray, TokenBatch, TokenDataset
from extract.backbone import Backbone
from probe.deployment.live_tokens import live_batch
from probe.split_batches import SplitBatches
from probe.trained_head import TrainedHead


@dataclass(frozen=True)
class HeadBatch:
    """B images: what each head reads of them, (B, N, D) float32 by trial."""

    labels: torch.Tensor
    records: np.ndarray
    """(B,) their positions in the split."""
    tokens: Mapping[str, torch.Tensor]


def stored_tokens(
    heads: Sequence[TrainedHead],
    split: SplitReader,
    norm: FinalNorm | None,
    batch_size: int,
    device: torch.device,
    limit: int | None,
) -> Iterator[HeadBatch]:
    """The split's first `limit` readable images, or all, in its order; memory holds a few batches."""
    arrays = _arrays(heads, norm)
    labels = split.whole("labels")
    keep = (labels >= 0) & (np.cumsum(labels >= 0) <= (limit or len(labels)))
    datasets = [TokenDataset(split, block, kinds, keep=keep) for block, kinds in arrays.items()]
    batches = SplitBatches(
        datasets, batch_size, residency=Residency("host", 0), device=device, shared_out=False
    )
    for found in batches:
        tokens = _of_heads(heads, dict(zip(arrays, found, strict=True)), norm)
        yield HeadBatch(found[0].labels, found[0].index.cpu().numpy(), tokens)


def live_tokens(
    heads: Sequence[TrainedHead], backbone: Backbone, images: torch.Tensor
) -> Mapping[str, torch.Tensor]:
    """Of (B, 3, H, W) uint8 images, cropped and not normalised, on the backbone's device."""
    norm, arrays = backbone.final_norm, _arrays(heads, backbone.final_norm)
    found = backbone(images, list(arrays))
    by_block = {block: live_batch(found[block], norm, kinds) for block, kinds in arrays.items()}
    return _of_heads(heads, by_block, norm)


def _arrays(heads: Sequence[TrainedHead], norm: FinalNorm | None) -> dict[int, frozenset[TokenArray]]:
    """What is read of each block."""
    needed: dict[int, frozenset[TokenArray]] = {}
    for head in heads:
        own = head.inputs(norm).arrays([head.probe.token_set])
        needed |= {block: needed.get(block, frozenset()) | own for block in head.blocks}
    return needed


def _of_heads(
    heads: Sequence[TrainedHead], by_block: Mapping[int, TokenBatch], norm: FinalNorm | None
) -> dict[str, torch.Tensor]:
    made: dict[object, torch.Tensor] = {}
    for head in heads:
        if _read_by(head) not in made:
            token_set = head.probe.token_set
            batches = [by_block[block] for block in head.blocks]
            # maps are computed in float32, whatever precision the head was trained in
            made[_read_by(head)] = head.inputs(norm).select(batches, [token_set])[token_set]
    return {head.trial: made[_read_by(head)] for head in heads}


def _read_by(head: TrainedHead) -> object:
    """Equal for heads that read the same tokens."""
    return head.probe.token_set, head.blocks, head.combination, head.tokens

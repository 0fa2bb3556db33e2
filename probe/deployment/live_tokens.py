"""A backbone's tokens as a store would give them, without a store."""

from __future__ import annotations

from collections.abc import Collection

import torch

from cache import FinalNorm, TokenArray, TokenBatch, TokenDtype, decode, encode
from extract.backbone import BlockTokens


def live_batch(tokens: BlockTokens, norm: FinalNorm | None, arrays: Collection[TokenArray]) -> TokenBatch:
    """`arrays` of one block in float32, as extraction computes them. There are no labels in it."""
    patches = tokens.patches.float()
    none = torch.empty(0, dtype=torch.int64)
    return TokenBatch(
        labels=none,
        index=none,
        patches=patches if "patches" in arrays else None,
        prefix=tokens.prefix.float() if tokens.prefix is not None and "prefix" in arrays else None,
        mean=patches.mean(dim=1) if "mean" in arrays else None,
        mean_normed=norm(patches).mean(dim=1) if norm is not None and "mean_normed" in arrays else None,
    )


def rounded(batch: TokenBatch, dtype: TokenDtype) -> TokenBatch:
    """The batch as a store of `dtype` gives it back: patches and prefix rounded, means as they are."""
    prefix_dtype: TokenDtype = "float16" if dtype == "int8" else dtype
    return TokenBatch(
        labels=batch.labels,
        index=batch.index,
        patches=None if batch.patches is None else _round_trip(batch.patches, dtype),
        prefix=None if batch.prefix is None else _round_trip(batch.prefix, prefix_dtype),
        mean=batch.mean,
        mean_normed=batch.mean_normed,
    )


def _round_trip(tokens: torch.Tensor, dtype: TokenDtype) -> torch.Tensor:
    encoded = encode(tokens, dtype)
    stored = encoded.tokens.view(torch.bfloat16) if dtype == "bfloat16" else encoded.tokens
    return decode(stored, encoded.scales)

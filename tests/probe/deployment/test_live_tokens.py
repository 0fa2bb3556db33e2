"""Tokens that a backbone gives now, as a store would."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cache import TokenArray, decode, encode
from extract.backbone import BlockTokens
from probe.deployment.live_tokens import live_batch, rounded

ARRAYS: set[TokenArray] = {"patches", "prefix", "mean"}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "int8"])
def test_rounding_gives_what_a_store_of_the_dtype_gives_back(dtype: Any) -> None:
    torch.manual_seed(0)
    tokens = BlockTokens(torch.randn(2, 6, 8), torch.randn(2, 1, 8))
    found = rounded(live_batch(tokens, None, ARRAYS), dtype)
    encoded = encode(tokens.patches, dtype)
    stored = encoded.tokens.view(torch.bfloat16) if dtype == "bfloat16" else encoded.tokens
    assert torch.equal(found.patches, decode(stored, encoded.scales))
    assert torch.equal(found.mean, tokens.patches.mean(dim=1))
    prefix_dtype = {"int8": torch.float16}.get(dtype) or getattr(torch, dtype)
    assert torch.equal(found.prefix, tokens.prefix.to(prefix_dtype).float())


def test_only_the_arrays_asked_for_are_there() -> None:
    found = live_batch(BlockTokens(torch.randn(2, 6, 8), None), None, {"mean"})
    assert found.patches is None
    assert found.prefix is None
    assert found.mean_normed is None

"""Whether the fused kernels compute a product of queries and tokens, or the plain path does."""

from __future__ import annotations

import importlib.util

import torch

from probe.fused.blocks import Blocks, blocks_for
from probe.fused.check import computes, variant_of
from probe.fused.stored_tokens import StoredTokens

HOPPER_SHARED_MEMORY = 227 * 1024
"""Bytes of a multiprocessor that one program may use; `blocks` counts on them."""

MOST_QUERY_BLOCKS = 4
"""Each block of queries reads the tokens from the second-level cache. Beyond so many, work is bound by it and
by arithmetic, and large matrix products, which the plain path takes, should be faster: not measured."""

MOST_CHUNKS = 32
"""Tiles of a token's channels, all unrolled: widths such as 1,001 have too many."""

PARTS = {torch.float16: 2, torch.int8: 2, torch.bfloat16: 3}
"""16-bit numbers whose sum has the precision of float32."""


def fused_attention_fits(
    device: torch.device, dtype: torch.dtype, shape: tuple[int, ...], num_queries: int, parts: int
) -> Blocks | None:
    """How to cut the work on `shape` (B, N, D) tokens of `dtype`; None where the plain path is to do it.

    Taken are float16, bfloat16 and int8 tokens on a CUDA device with the shared memory of Hopper's, where
    Triton is installed, if the sums of 8 queries or more fit its registers, in few blocks of queries.
    """
    if dtype not in PARTS or not _suitable(device) or 0 in shape:
        return None
    blocks = blocks_for(shape[-1], num_queries, parts, dtype)
    if blocks is None or blocks.chunks > MOST_CHUNKS or -(-num_queries // blocks.queries) > MOST_QUERY_BLOCKS:
        return None
    return blocks


def chosen_blocks(tokens: StoredTokens, num_queries: int) -> tuple[Blocks, int] | None:
    """Blocks and parts with which to fuse; None: the plain path. Checks once that they compute."""
    dtype, device = tokens.values.dtype, tokens.values.device
    parts = PARTS.get(dtype, 1) if tokens.precision == torch.float32 else 1
    shape = len(tokens), *tokens.values.shape[1:]
    blocks = fused_attention_fits(device, dtype, shape, num_queries, parts)
    if blocks is None or not computes(variant_of(tokens, blocks, parts)):
        return None
    return blocks, parts


def _suitable(device: torch.device) -> bool:
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return False
    held = getattr(torch.cuda.get_device_properties(device), "shared_memory_per_block_optin", 0)
    return int(held) >= HOPPER_SHARED_MEMORY

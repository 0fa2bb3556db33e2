"""Whether the fused kernels compute a product of queries and tokens, or the plain path does."""

from __future__ import annotations

import importlib.util
import warnings
from functools import cache

import torch

from cache import FinalNorm, NormKind, is_out_of_memory
from cache.int8 import quantize
from probe.fused.blocks import Blocks, blocks_for
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

TOLERANCES = {torch.float16: 4e-3, torch.int8: 4e-3, torch.bfloat16: 3e-2}
"""Of operands in one part, relative; in several parts a hundredth of it."""


def fused_attention_fits(
    device: torch.device, dtype: torch.dtype, shape: tuple[int, ...], num_queries: int, parts: int
) -> Blocks | None:
    """How to cut the work on `shape` (B, N, D) tokens of `dtype`; None where the plain path is to do it.

    Taken are float16, bfloat16 and int8 tokens on a CUDA device with the shared memory of Hopper's, where
    Triton is installed, if the sums of 16 queries or more fit its registers, in few blocks of queries.
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
    norm = None if tokens.norm is None else tokens.norm.kind
    if blocks is None or not _computes(device, dtype, tokens.values.shape[-1], norm, blocks, parts):
        return None
    return blocks, parts


def _suitable(device: torch.device) -> bool:
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return False
    held = getattr(torch.cuda.get_device_properties(device), "shared_memory_per_block_optin", 0)
    return int(held) >= HOPPER_SHARED_MEMORY


@cache
def _computes(
    device: torch.device, dtype: torch.dtype, dim: int, norm: NormKind | None, blocks: Blocks, parts: int
) -> bool:
    """Whether the kernels, compiled for this device, give the formula in float64, forward and backward.

    Where they do not, a warning says so, once, and the plain path is used.
    """
    tolerance = TOLERANCES[dtype] / (1 if parts == 1 else 100)
    try:
        error = _error(device, dtype, dim, norm, blocks, parts)
    except Exception as problem:  # a compiler's or driver's: they have no common class
        if is_out_of_memory(problem):  # says nothing of the kernels
            raise
        reason = " ".join(str(problem).split())[:200] or type(problem).__name__
    else:
        if error <= tolerance:
            return True
        reason = f"its relative error is {error:.1g}, above {tolerance:.1g}"
    warnings.warn(f"the fused attention kernel is not used on {device}: {reason}", stacklevel=2)
    return False


def _error(
    device: torch.device, dtype: torch.dtype, dim: int, norm: NormKind | None, blocks: Blocks, parts: int
) -> float:
    """The larger relative error of pooled tokens and gradient, on three images of random tokens."""
    from probe.fused.pooling import fused_pool  # needs Triton

    with torch.inference_mode(False), torch.enable_grad():
        tokens = _random_tokens(device, dtype, dim, norm, count=2 * blocks.tokens + 5)
        drawn = torch.Generator().manual_seed(1)
        start = torch.randn(blocks.queries + 1, dim, generator=drawn) / dim**0.5
        queries = start.to(device).requires_grad_()
        direction = torch.randn(len(tokens), len(queries), dim, generator=drawn).to(device)
        exact_queries = queries.detach().double().requires_grad_()
        exact_tokens = tokens.decoded.double()
        found = fused_pool(tokens, queries, blocks, parts)
        wanted = torch.softmax(exact_queries @ exact_tokens.mT, dim=-1) @ exact_tokens
        (found * direction).sum().backward()
        (wanted * direction).sum().backward()
        assert queries.grad is not None
        assert exact_queries.grad is not None
        pairs = (found, wanted), (queries.grad, exact_queries.grad)
        errors = [float(((ours - exact).norm() / exact.norm()).detach()) for ours, exact in pairs]
    return max(errors) if all(map(_finite, errors)) else float("inf")


def _finite(number: float) -> bool:
    return abs(number) < float("inf")  # false for what is not a number


def _random_tokens(
    device: torch.device, dtype: torch.dtype, dim: int, norm: NormKind | None, count: int
) -> StoredTokens:
    drawn = torch.Generator().manual_seed(0)
    values = torch.randn(3, count, dim, generator=drawn).to(device)
    weight, bias = torch.randn(2, dim, generator=drawn).to(device)
    seen = None if norm is None else FinalNorm(norm, 1e-6, weight, bias if norm == "layer_norm" else None)
    if dtype == torch.int8:
        return StoredTokens(*quantize(values), torch.float32, seen)
    return StoredTokens(values.to(dtype), None, torch.float32, seen)

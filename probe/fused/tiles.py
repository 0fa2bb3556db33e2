# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, misc, assignment"
# ruff: noqa: RUF005 — Triton has no (*a, b)
"""What the kernels do with tiles of tokens: loading, and products of operands in parts.

Tiles are [channels, queries] and [tokens, queries], so that the long axis is the matrix unit's first.
Channels are CHUNKS tiles of BLOCK_D, in tuples: a tile's sides must be powers of two, and D need not be one.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def item_of(image, items, HAS_ITEMS: tl.constexpr):
    """Where the tokens of an image of the batch are."""
    return tl.load(items + image) if HAS_ITEMS else image


@triton.jit
def unit_of(top):
    """In which numbers up to `top` are below 2¹⁵: float16 holds them, and those 2²⁹ times smaller."""
    return tl.exp2(tl.floor(tl.log2(tl.maximum(top, 1e-30))) - 14)


@triton.jit
def in_parts(values, DTYPE: tl.constexpr, PARTS: tl.constexpr):
    """PARTS tiles of DTYPE whose sum is `values`: each is what the ones before it leave."""
    found = ()
    for _ in tl.static_range(PARTS):
        part = values.to(DTYPE)
        found = found + (part,)
        values = values - part.to(tl.float32)
    return found


@triton.jit
def sum_of(parts, PARTS: tl.constexpr):
    """What `in_parts` made of its values, in float32."""
    found = parts[0].to(tl.float32)
    for part in tl.static_range(1, PARTS):
        found = found + parts[part].to(tl.float32)
    return found


@triton.jit
def channels_of(chunk: tl.constexpr, BLOCK_D: tl.constexpr):
    """The channels of a chunk, (BLOCK_D,)."""
    return chunk * BLOCK_D + tl.arange(0, BLOCK_D)


@triton.jit
def zero_totals(BLOCK_Q: tl.constexpr, BLOCK_D: tl.constexpr, CHUNKS: tl.constexpr):
    """For each chunk zeros, [channels, queries]."""
    found = ()
    for _ in tl.static_range(CHUNKS):
        found = found + (tl.zeros((BLOCK_D, BLOCK_Q), tl.float32),)
    return found


@triton.jit
def _add_product(total, tokens, parts, PARTS: tl.constexpr):
    """total + tokens @ Σ parts."""
    for part in tl.static_range(PARTS):
        total = tl.dot(tokens, parts[part], total, input_precision="ieee")
    return total


@triton.jit
def load_block(image, n, count, D: tl.constexpr, BLOCK_D: tl.constexpr, CHUNKS: tl.constexpr):
    """Tokens n of an image: each chunk's tile, [tokens, channels]; zeros beyond the last."""
    found = ()
    for chunk in tl.static_range(CHUNKS):
        d = channels_of(chunk, BLOCK_D)
        inside = (n[:, None] < count) & (d[None, :] < D)
        found = found + (tl.load(image + n[:, None] * D + d[None, :], mask=inside, other=0),)
    return found


@triton.jit
def multiply_block(
    stored,
    rows,
    DTYPE: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    CHUNKS: tl.constexpr,
):
    """A block's tiles as operands, and the products of its tokens with `rows`."""
    block = ()
    products = tl.zeros((BLOCK_N, BLOCK_Q), tl.float32)
    for chunk in tl.static_range(CHUNKS):
        tile = stored[chunk].to(DTYPE)
        block = block + (tile,)
        products = _add_product(products, tile, rows[chunk], PARTS)
    return block, products


@triton.jit
def add_weighted(totals, decay, block, parts, PARTS: tl.constexpr, CHUNKS: tl.constexpr):
    """totals · decay + Σ_n weight_n x_n: the tiles that `multiply_block` gave, weights in parts."""
    found = ()
    for chunk in tl.static_range(CHUNKS):
        total = totals[chunk] * decay[None, :]
        found = found + (_add_product(total, tl.trans(block[chunk]), parts, PARTS),)
    return found

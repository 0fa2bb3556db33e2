# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, misc, assignment"
# ruff: noqa: RUF005 — Triton has no (*a, b)
"""What the kernels do with rows of (Q, D), one for each query: queries, gradients, what was pooled.

On their way to stored tokens they take in what these are multiplied by and normed with, and so do sums over
stored tokens on their way back.
"""

from __future__ import annotations

import triton
import triton.language as tl

from probe.fused.split_floats import join_float, split_float
from probe.fused.tiles import channels_of, in_parts, unit_of

SMALLEST_WEIGHT = tl.constexpr(2.0**-17)
"""Of a norm's weight beside its bias: below it, 17 bits of their sum say nothing of what was weighted."""


@triton.jit
def _row_tile(
    rows,
    row_stride,
    q,
    num_queries,
    chunk: tl.constexpr,
    EVICTION: tl.constexpr,
    CACHE: tl.constexpr,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """[channels, queries] of rows q, (Q, D), as stored; zeros beyond them.

    Where the same rows are loaded again, ask for it in another way: the compiler would keep those of all
    chunks until then, for which there are no registers.
    """
    d = channels_of(chunk, BLOCK_D)
    inside = (d[:, None] < D) & (q[None, :] < num_queries)
    places = rows + q.to(tl.int64)[None, :] * row_stride + d[:, None]
    return tl.load(places, mask=inside, other=0, eviction_policy=EVICTION, cache_modifier=CACHE)


@triton.jit
def _pooled_tile(
    pooled,
    rest,
    q,
    num_queries,
    chunk: tl.constexpr,
    EVICTION: tl.constexpr,
    D: tl.constexpr,
    HAS_REST: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """`_row_tile` of what was pooled in float32, from both of what `store_rows` wrote."""
    tile = _row_tile(pooled, D, q, num_queries, chunk, EVICTION, "", D, BLOCK_D)
    if HAS_REST:
        following = _row_tile(rest, D, q, num_queries, chunk, EVICTION, "", D, BLOCK_D)
        tile = join_float(tile, following)
    return tile.to(tl.float32)


@triton.jit
def _of_channels(
    values,
    chunk: tl.constexpr,
    other,
    EVICTION: tl.constexpr,
    CACHE: tl.constexpr,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """(D,) values as a column [channels, 1] in float32, `other` beyond them. Ways to ask: see `_row_tile`."""
    d = channels_of(chunk, BLOCK_D)
    found = tl.load(values + d, mask=d < D, other=other, eviction_policy=EVICTION, cache_modifier=CACHE)
    return found.to(tl.float32)[:, None]


@triton.jit
def _towards_tokens(
    tile,
    mean,
    factors,
    gamma,
    chunk: tl.constexpr,
    EVICTION: tl.constexpr,
    D: tl.constexpr,
    NORMED: tl.constexpr,
    HAS_FACTORS: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """What meets the stored tokens where `tile` is to meet the normed ones: (γ tile − mean) · factors."""
    if NORMED:
        tile = tile * _of_channels(gamma, chunk, 0.0, EVICTION, "", D, BLOCK_D) - mean[None, :]
    if HAS_FACTORS:
        tile = tile * _of_channels(factors, chunk, 1.0, EVICTION, "", D, BLOCK_D)
    return tile


@triton.jit
def load_rows(
    rows,
    row_stride,
    factors,
    gamma,
    q,
    num_queries,
    D: tl.constexpr,
    NORMED: tl.constexpr,
    CENTRED: tl.constexpr,
    HAS_FACTORS: tl.constexpr,
    DTYPE: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_D: tl.constexpr,
    CHUNKS: tl.constexpr,
):
    """Rows q, (Q, D), as they meet stored tokens: each chunk's parts, and the rows' units."""
    mean = tl.zeros((BLOCK_Q,), tl.float32)
    if CENTRED:
        sums = tl.zeros((BLOCK_D, BLOCK_Q), tl.float32)
        for chunk in tl.static_range(CHUNKS):
            tile = _row_tile(rows, row_stride, q, num_queries, chunk, "evict_first", "", D, BLOCK_D).to(
                tl.float32
            )
            sums += tile * _of_channels(gamma, chunk, 0.0, "evict_first", "", D, BLOCK_D)
        mean = tl.sum(sums, 0) / D
    tops = tl.zeros((BLOCK_D, BLOCK_Q), tl.float32)
    for chunk in tl.static_range(CHUNKS):
        tile = _row_tile(rows, row_stride, q, num_queries, chunk, "evict_last", "", D, BLOCK_D).to(tl.float32)
        tile = _towards_tokens(
            tile, mean, factors, gamma, chunk, "evict_last", D, NORMED, HAS_FACTORS, BLOCK_D
        )
        tops = tl.maximum(tops, tl.abs(tile))
    unit = unit_of(tl.max(tops, 0))
    found = ()
    for chunk in tl.static_range(CHUNKS):
        tile = _row_tile(rows, row_stride, q, num_queries, chunk, "", "", D, BLOCK_D).to(tl.float32)
        tile = _towards_tokens(tile, mean, factors, gamma, chunk, "", D, NORMED, HAS_FACTORS, BLOCK_D)
        found = found + (in_parts(tile / unit[None, :], DTYPE, PARTS),)
    return found, unit


@triton.jit
def change_factors(totals, before, now, D: tl.constexpr, BLOCK_D: tl.constexpr, CHUNKS: tl.constexpr):
    """Totals that are meant times the factors `before`, as such that are meant times those `now`."""
    found = ()
    for chunk in tl.static_range(CHUNKS):
        d = channels_of(chunk, BLOCK_D)
        ratio = tl.load(before + d, mask=d < D, other=1.0).to(tl.float32) / tl.load(
            now + d, mask=d < D, other=1.0
        ).to(tl.float32)
        found = found + (totals[chunk] * ratio[:, None],)
    return found


@triton.jit
def dot_rows(
    rows,
    row_stride,
    pooled,
    rest,
    beta,
    q,
    num_queries,
    D: tl.constexpr,
    NORMED: tl.constexpr,
    HAS_REST: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_D: tl.constexpr,
    CHUNKS: tl.constexpr,
):
    """Products of rows q, (Q, D), with what was pooled, − β: one for each query."""
    found = tl.zeros((BLOCK_D, BLOCK_Q), tl.float32)
    for chunk in tl.static_range(CHUNKS):
        tile = _row_tile(rows, row_stride, q, num_queries, chunk, "", ".cg", D, BLOCK_D).to(tl.float32)
        other = _pooled_tile(pooled, rest, q, num_queries, chunk, "evict_last", D, HAS_REST, BLOCK_D)
        if NORMED:
            other = other - _of_channels(beta, chunk, 0.0, "", "", D, BLOCK_D)
        found += tile * other
    return tl.sum(found, 0)


@triton.jit
def _of_stored(
    tile,
    factors,
    gamma,
    beta,
    chunk: tl.constexpr,
    D: tl.constexpr,
    NORMED: tl.constexpr,
    HAS_FACTORS: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """What was pooled of stored tokens, from the same of normed ones: (tile − β) / γ / factors."""
    if NORMED:
        weight = _of_channels(gamma, chunk, 0.0, "", ".cg", D, BLOCK_D)
        offset = _of_channels(beta, chunk, 0.0, "", ".cg", D, BLOCK_D)
        known = tl.abs(weight) > SMALLEST_WEIGHT * tl.maximum(tl.abs(offset), 1e-20)
        tile = tl.where(known, (tile - offset) / tl.where(known, weight, 1.0), 0.0)
    if HAS_FACTORS:
        tile = tile / _of_channels(factors, chunk, 1.0, "", ".cg", D, BLOCK_D)
    return tile


@triton.jit
def subtract_rows(
    totals,
    share,
    rows,
    rest,
    factors,
    gamma,
    beta,
    q,
    num_queries,
    D: tl.constexpr,
    NORMED: tl.constexpr,
    HAS_REST: tl.constexpr,
    HAS_FACTORS: tl.constexpr,
    BLOCK_D: tl.constexpr,
    CHUNKS: tl.constexpr,
):
    """Totals of stored tokens − share · what was pooled of these, which follows from the written rows q.

    Of normed tokens up to a constant, which has no effect, and where γ is not so small beside β that the rows
    say nothing of it; there normed tokens are small, and share is.
    """
    found = ()
    for chunk in tl.static_range(CHUNKS):
        tile = _pooled_tile(rows, rest, q, num_queries, chunk, "", D, HAS_REST, BLOCK_D)
        tile = _of_stored(tile, factors, gamma, beta, chunk, D, NORMED, HAS_FACTORS, BLOCK_D)
        # one operation: of two, each would have the compiler move the tile to another layout
        found = found + (tl.fma(tile, -share[None, :], totals[chunk]),)
    return found


@triton.jit
def store_rows(
    rows,
    rest,
    totals,
    share,
    factors,
    gamma,
    beta,
    q,
    num_queries,
    D: tl.constexpr,
    NORMED: tl.constexpr,
    CENTRED: tl.constexpr,
    ADD_BETA: tl.constexpr,
    HAS_REST: tl.constexpr,
    HAS_FACTORS: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_D: tl.constexpr,
    CHUNKS: tl.constexpr,
):
    """Write sums over stored tokens, totals · share, as such over normed ones, rows q of (Q, D).

    γ (totals · share · factors − their mean over the channels) + β. It is the transpose of what `load_rows`
    does, so that it is the way back of gradients, too, but for β. `rest`: the bits of the rows after
    those of bfloat16.
    """
    mean = tl.zeros((BLOCK_Q,), tl.float32)
    if CENTRED:
        sums = tl.zeros((BLOCK_D, BLOCK_Q), tl.float32)
        for chunk in tl.static_range(CHUNKS):
            found = totals[chunk]
            if HAS_FACTORS:
                found = found * _of_channels(factors, chunk, 0.0, "", ".ca", D, BLOCK_D)
            sums += found
        mean = tl.sum(sums, 0) * share / D
    for chunk in tl.static_range(CHUNKS):
        d = channels_of(chunk, BLOCK_D)
        found = totals[chunk] * share[None, :]
        if HAS_FACTORS:
            found = found * _of_channels(factors, chunk, 0.0, "", ".ca", D, BLOCK_D)
        if NORMED:
            found = (found - mean[None, :]) * _of_channels(gamma, chunk, 0.0, "", ".ca", D, BLOCK_D)
        if NORMED and ADD_BETA:
            found = found + _of_channels(beta, chunk, 0.0, "", ".ca", D, BLOCK_D)
        inside = (d[:, None] < D) & (q[None, :] < num_queries)
        places = q[None, :] * D + d[:, None]
        if HAS_REST:
            found, following = split_float(found)
            tl.store(rest + places, following, mask=inside)
        tl.store(rows + places, found, mask=inside)

# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, misc"
"""Triton kernels that pool tokens by queries and read every token once.

A program holds BLOCK_Q queries and goes through images; of an image it goes through blocks of BLOCK_N
tokens. A block stays on the chip, in shared memory, for both of its products: with the queries, for its
scores, and with the weights that follow from them, for what is pooled. So tokens cross from memory once,
forward and backward:

    s_nq = x_n · q_q,    w = exp(s − m),   pooled = Σ_n w_nq x_n / Σ_n w_nq         (m: largest score so far)
    p = exp(s − log Σ exp s),    ds_nq = p_nq (x_n · g_q − δ_q),    dq_q = Σ_images Σ_n ds_nq (x_n − pooled_q)

with g the gradient of what was pooled and δ_q = g_q · pooled_q. As Σ_n p_nq (x_n − pooled_q) = 0, an error
of δ changes nothing. As pooled tokens are subtracted by the sum of the very ds that met the tokens, rounding
ds costs 2⁻¹¹ of ds times a token's distance from what was pooled, not times its length: in backbones with
channels that are large in all tokens, that is a hundred times as much.

Sums are float32. Programs sum the gradient over their own images and write it apart, for a sum in a fixed
order: without atomics, the bits are the same each time.

Products are taken by the matrix units, whose operands have 16 bits. Tokens are exact in them. Queries,
weights and gradients are a sum of PARTS such numbers (1: rounded; float32's precision: 2 in float16, 3 in
bfloat16), in units that keep them inside the range of float16 (`tiles.unit_of`).

int8 tokens are x_nd = code_nd · scale_n · factor_d, all of one image. Factors join the queries and meet what
was pooled, scales meet the scores and the weights; the codes themselves are the operands.

The backbone's final norm needs no other tokens either. With r_n = 1 / √(variance_n + ε), from `token_scales`,

    LayerNorm(x_n) = γ r_n (x_n − mean(x_n)) + β,       c(y) = y − mean(y) over the channels:
    q · LayerNorm(x_n) = r_n c(γ q) · x_n + q · β,      Σ_n p_n LayerNorm(x_n) = γ c(Σ_n p_n r_n x_n) + β

and the softmax removes q · β. So r_n is a token's scale, as those of int8 are. RMSNorm is the same without c
and β.
"""

from __future__ import annotations

import triton
import triton.language as tl

from probe.fused.rows import change_factors, dot_rows, load_rows, store_rows, subtract_rows
from probe.fused.tiles import (
    add_weighted,
    in_parts,
    item_of,
    load_block,
    multiply_block,
    sum_of,
    unit_of,
    zero_totals,
)

VARYING = ("images", "count", "scale_stride", "factor_stride")
"""Numbers for whose multiples of 16 nothing is compiled anew, as the last batch of an epoch would ask for."""


@triton.jit(do_not_specialize=VARYING)
def pool_forward(
    tokens,  # (S, N, D)
    scales,  # (S, N, then what belongs to others), if HAS_SCALES: by which tokens are multiplied
    factors,  # (S, D) and others, if HAS_FACTORS: by which their channels are
    items,  # (B,) int64, if HAS_ITEMS: which of S each image is; else image b is b
    gamma,  # (D,) float32, if NORMED
    beta,  # (D,) float32, if NORMED
    queries,  # (Q, D)
    pooled,  # (B, Q, D) float32, or 16 bits, written
    rest,  # (B, Q, D) int8, written if HAS_REST: its bits after those of bfloat16
    scores,  # (B, N, Q) float32, written if KEEP_SCORES
    log_sums,  # (B, Q) float32, written: log Σ_n exp(score)
    images,
    count,
    num_queries,
    scale_stride,  # of an image, in numbers
    factor_stride,
    norm_stride,  # 0: the compiler, to which it is unknown, does not keep γ and β in registers for all images
    D: tl.constexpr,
    HAS_ITEMS: tl.constexpr,
    NORMED: tl.constexpr,
    CENTRED: tl.constexpr,
    HAS_SCALES: tl.constexpr,
    HAS_FACTORS: tl.constexpr,
    KEEP_SCORES: tl.constexpr,
    HAS_REST: tl.constexpr,
    DTYPE: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_D: tl.constexpr,
    CHUNKS: tl.constexpr,
):
    """Program (i, j) pools the images j, j + J, … by block i of the queries.

    Programs of one image run side by side, so that all but the first find it in the cache.
    """
    q = tl.program_id(0) * BLOCK_Q + tl.arange(0, BLOCK_Q)
    if not HAS_FACTORS:  # else each image has its own
        rows, row_unit = load_rows(
            queries,
            D,
            factors,
            gamma,
            q,
            num_queries,
            D,
            NORMED,
            CENTRED,
            HAS_FACTORS,
            DTYPE,
            PARTS,
            BLOCK_Q,
            BLOCK_D,
            CHUNKS,
        )
    for image in range(tl.program_id(1).to(tl.int64), images, tl.num_programs(1)):
        item = item_of(image, items, HAS_ITEMS)
        own_tokens = tokens + item * count * D
        own_scales = scales + item * scale_stride
        own_factors = factors + item * factor_stride
        own_gamma, own_beta = gamma + item * norm_stride, beta + item * norm_stride
        if HAS_FACTORS:
            rows, row_unit = load_rows(
                queries,
                D,
                own_factors,
                own_gamma,
                q,
                num_queries,
                D,
                NORMED,
                CENTRED,
                HAS_FACTORS,
                DTYPE,
                PARTS,
                BLOCK_Q,
                BLOCK_D,
                CHUNKS,
            )
        totals = zero_totals(BLOCK_Q, BLOCK_D, CHUNKS)
        largest = tl.full((BLOCK_Q,), float("-inf"), tl.float32)
        sums = tl.zeros((BLOCK_Q,), tl.float32)
        top = tl.full((BLOCK_Q,), 0.0 if HAS_SCALES else 1.0, tl.float32)  # of what multiplies tokens
        if HAS_FACTORS:  # the compiler copies no int8 ahead: it has to be converted on its way
            ahead = load_block(own_tokens, tl.arange(0, BLOCK_N), count, D, BLOCK_D, CHUNKS)
        for first in range(0, count, BLOCK_N):
            n = first + tl.arange(0, BLOCK_N)
            if HAS_FACTORS:
                stored, ahead = ahead, load_block(own_tokens, n + BLOCK_N, count, D, BLOCK_D, CHUNKS)
            else:
                stored = load_block(own_tokens, n, count, D, BLOCK_D, CHUNKS)
            block, products = multiply_block(stored, rows, DTYPE, PARTS, BLOCK_N, BLOCK_Q, CHUNKS)
            s = products * row_unit[None, :]
            if HAS_SCALES:
                scale = tl.load(own_scales + n, mask=n < count, other=0.0).to(tl.float32)
                s = s * scale[:, None]
            s = tl.where(n[:, None] < count, s, float("-inf"))
            if KEEP_SCORES:
                places = scores + (image * count + n[:, None]) * num_queries + q[None, :]
                tl.store(places, s, mask=(n[:, None] < count) & (q[None, :] < num_queries))
            before = largest
            largest = tl.maximum(largest, tl.max(s, 0))
            decay = tl.exp(before - largest)
            weights = tl.exp(s - largest[None, :])
            sums = sums * decay + tl.sum(weights, 0)
            if HAS_SCALES:
                weights = weights * scale[:, None]
                unit_before = unit_of(top)
                top = tl.maximum(top, tl.max(scale, 0))
                decay = decay * (unit_before / unit_of(top))
            parts = in_parts(weights / unit_of(top)[None, :], DTYPE, PARTS)
            totals = add_weighted(totals, decay, block, parts, PARTS, CHUNKS)
        own_pooled = pooled + image * num_queries * D
        share = unit_of(top) / sums
        store_rows(
            own_pooled,
            rest + image * num_queries * D,
            totals,
            share,
            own_factors,
            own_gamma,
            own_beta,
            q,
            num_queries,
            D,
            NORMED,
            CENTRED,
            True,
            HAS_REST,
            HAS_FACTORS,
            BLOCK_Q,
            BLOCK_D,
            CHUNKS,
        )
        tl.store(log_sums + image * num_queries + q, largest + tl.log(sums), mask=q < num_queries)


@triton.jit(do_not_specialize=VARYING)
def pool_backward(
    tokens,  # as in the forward pass
    scales,
    factors,
    items,
    gamma,
    beta,
    pooled,
    rest,
    scores,
    log_sums,
    of_pooled,  # (B, Q, D): the gradient g, its channels side by side
    of_queries,  # (J, Q, D) float32, written: each program's sum over its own images
    images,
    count,
    num_queries,
    scale_stride,
    factor_stride,
    norm_stride,
    image_stride,  # of the gradient
    query_stride,
    D: tl.constexpr,
    HAS_ITEMS: tl.constexpr,
    NORMED: tl.constexpr,
    CENTRED: tl.constexpr,
    HAS_SCALES: tl.constexpr,
    HAS_FACTORS: tl.constexpr,
    HAS_REST: tl.constexpr,
    DTYPE: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_D: tl.constexpr,
    CHUNKS: tl.constexpr,
):
    """Program (i, j) sums the gradient of block i of the queries over the images j, j + J, …

    Sums are kept in a unit that grows with the largest ds so far, and of int8 tokens also divided by the
    image's factors, so that sums of one image need no registers of their own.
    """
    q = tl.program_id(0) * BLOCK_Q + tl.arange(0, BLOCK_Q)
    totals = zero_totals(BLOCK_Q, BLOCK_D, CHUNKS)
    top = tl.zeros((BLOCK_Q,), tl.float32)
    own_factors = factors + item_of(tl.program_id(1).to(tl.int64), items, HAS_ITEMS) * factor_stride
    for image in range(tl.program_id(1).to(tl.int64), images, tl.num_programs(1)):
        item = item_of(image, items, HAS_ITEMS)
        own_tokens = tokens + item * count * D
        own_scales = scales + item * scale_stride
        if HAS_FACTORS:
            before = own_factors
            own_factors = factors + item * factor_stride
            totals = change_factors(totals, before, own_factors, D, BLOCK_D, CHUNKS)
        own_gamma, own_beta = gamma + item * norm_stride, beta + item * norm_stride
        own_gradient = of_pooled + image * image_stride
        log_sum = tl.load(log_sums + image * num_queries + q, mask=q < num_queries, other=0.0)
        own = image * num_queries * D
        shift = dot_rows(
            own_gradient,
            query_stride,
            pooled + own,
            rest + own,
            own_beta,
            q,
            num_queries,
            D,
            NORMED,
            HAS_REST,
            BLOCK_Q,
            BLOCK_D,
            CHUNKS,
        )
        rows, row_unit = load_rows(
            own_gradient,
            query_stride,
            own_factors,
            own_gamma,
            q,
            num_queries,
            D,
            NORMED,
            CENTRED,
            HAS_FACTORS,
            DTYPE,
            PARTS,
            BLOCK_Q,
            BLOCK_D,
            CHUNKS,
        )
        excess = tl.zeros((BLOCK_Q,), tl.float32)  # Σ_n ds_n
        if HAS_FACTORS:  # the compiler copies no int8 ahead: it has to be converted on its way
            ahead = load_block(own_tokens, tl.arange(0, BLOCK_N), count, D, BLOCK_D, CHUNKS)
        for first in range(0, count, BLOCK_N):
            n = first + tl.arange(0, BLOCK_N)
            if HAS_FACTORS:
                stored, ahead = ahead, load_block(own_tokens, n + BLOCK_N, count, D, BLOCK_D, CHUNKS)
            else:
                stored = load_block(own_tokens, n, count, D, BLOCK_D, CHUNKS)
            block, products = multiply_block(stored, rows, DTYPE, PARTS, BLOCK_N, BLOCK_Q, CHUNKS)
            products = products * row_unit[None, :]
            inside = (n[:, None] < count) & (q[None, :] < num_queries)
            places = scores + (image * count + n[:, None]) * num_queries + q[None, :]
            s = tl.load(places, mask=inside, other=float("-inf"))
            if HAS_SCALES:
                scale = tl.load(own_scales + n, mask=n < count, other=0.0).to(tl.float32)
                products = products * scale[:, None]
            of_scores = tl.exp(s - log_sum[None, :]) * (products - shift[None, :])
            weights = of_scores
            if HAS_SCALES:
                weights = weights * scale[:, None]
            unit_before = unit_of(top)
            top = tl.maximum(top, tl.max(tl.abs(weights), 0))
            unit = unit_of(top)
            parts = in_parts(weights / unit[None, :], DTYPE, PARTS)
            rounding = sum_of(parts, PARTS) * unit[None, :] - weights
            if HAS_SCALES:  # of a scale of 0 there is nothing to round
                rounding = rounding / tl.maximum(scale, 1e-8)[:, None]
            excess += tl.sum(of_scores + rounding, 0)
            totals = add_weighted(totals, unit_before / unit, block, parts, PARTS, CHUNKS)
        share = excess / unit_of(top)
        totals = subtract_rows(
            totals,
            share,
            pooled + own,
            rest + own,
            own_factors,
            own_gamma,
            own_beta,
            q,
            num_queries,
            D,
            NORMED,
            HAS_REST,
            HAS_FACTORS,
            BLOCK_D,
            CHUNKS,
        )
    store_rows(
        of_queries + tl.program_id(1).to(tl.int64) * num_queries * D,
        rest,
        totals,
        unit_of(top),
        own_factors,
        gamma,
        beta,
        q,
        num_queries,
        D,
        NORMED,
        CENTRED,
        False,
        False,
        HAS_FACTORS,
        BLOCK_Q,
        BLOCK_D,
        CHUNKS,
    )

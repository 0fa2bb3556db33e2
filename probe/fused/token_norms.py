# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, misc"
"""What the backbone's final norm multiplies each token by, as the attention kernels need it."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from cache import FinalNorm
from probe.fused.blocks import tiles_of
from probe.fused.tiles import channels_of

TOKENS = 16
"""Of a program."""


@triton.jit
def _tile(
    tokens, factors, n, count, chunk, D: tl.constexpr, HAS_FACTORS: tl.constexpr, BLOCK_D: tl.constexpr
):
    d = channels_of(chunk, BLOCK_D)
    inside = (n[:, None] < count) & (d[None, :] < D)
    tile = tl.load(tokens + n[:, None] * D + d[None, :], mask=inside, other=0).to(tl.float32)
    if HAS_FACTORS:
        tile = tile * tl.load(factors + d, mask=d < D, other=0.0).to(tl.float32)[None, :]
    return tile, inside


@triton.jit
def norm_scales(
    tokens,  # (S, N, D)
    scales,  # (S, N + D) float16, if HAS_FACTORS: of the tokens, then the factors of the channels
    found,  # (S, N) float32, written
    count,
    eps,
    D: tl.constexpr,
    CENTRED: tl.constexpr,
    HAS_FACTORS: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    CHUNKS: tl.constexpr,
):
    """Program (i, j), block j of the tokens of image i: scale_n / √(mean of squares, or variance, + ε)."""
    image = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    own, factors = tokens + image * count * D, scales + image * (count + D) + count
    mean = tl.zeros((BLOCK_N,), tl.float32)
    if CENTRED:
        for chunk in tl.static_range(CHUNKS):
            tile, _ = _tile(own, factors, n, count, chunk, D, HAS_FACTORS, BLOCK_D)
            mean += tl.sum(tile, 1)
        mean = mean / D
    squares = tl.zeros((BLOCK_N,), tl.float32)
    for chunk in tl.static_range(CHUNKS):
        tile, inside = _tile(own, factors, n, count, chunk, D, HAS_FACTORS, BLOCK_D)
        centred = tl.where(inside, tile - mean[:, None], 0.0)
        squares += tl.sum(centred * centred, 1)
    scale = tl.full((BLOCK_N,), 1.0, tl.float32)
    if HAS_FACTORS:
        scale = tl.load(scales + image * (count + D) + n, mask=n < count, other=0.0).to(tl.float32)
    deviation = tl.sqrt(squares / D * scale * scale + eps)
    tl.store(found + image * count + n, scale / deviation, mask=n < count)


def token_scales(values: torch.Tensor, scales: torch.Tensor | None, norm: FinalNorm) -> torch.Tensor:
    """(S, N) float32: by what `norm` multiplies stored tokens (S, N, D) before it weighs their channels."""
    images, count, dim = values.shape
    found = torch.empty(images, count, dtype=torch.float32, device=values.device)
    channels, chunks = tiles_of(dim)
    with torch.cuda.device_of(values):
        norm_scales[(images, triton.cdiv(count, TOKENS))](
            values,
            values if scales is None else scales,
            found,
            count,
            norm.eps,
            D=dim,
            CENTRED=norm.kind == "layer_norm",
            HAS_FACTORS=scales is not None,
            BLOCK_N=TOKENS,
            BLOCK_D=channels,
            CHUNKS=chunks,
            enable_fp_fusion=True,  # see `launch.kernel_constants`
        )
    return found

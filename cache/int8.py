"""Patch tokens in eight bits: codes, and two scales for each, its token's and its channel's.

    factor_d = root mean square of channel d over the image's tokens
    scale_n  = max_d |x_nd / factor_d| / 127
    code_nd  = round(x_nd / factor_d / scale_n),   x_nd ≈ code_nd · scale_n · factor_d

Backbones have a few channels whose values are hundreds of times those of the others (Sun et al. 2024,
arXiv 2402.17762; Darcet et al. 2024, arXiv 2309.16588). One scale for a token, or for a group of its
channels, would round the others to nothing; a factor for each channel makes all of them alike first.
`benchmarks/bench_int8.py` measures both.
"""

from __future__ import annotations

import torch

LARGEST_CODE = 127
SMALLEST_FACTOR = 2.0**-14
"""The smallest normal float16: a channel below it is as good as zero."""

LARGEST_FACTOR = torch.finfo(torch.float16).max
"""A channel of a greater root mean square has no factor in float16."""


def num_scales(num_tokens: int, dim: int) -> int:
    """Scales of an image: one for each of N tokens, then one for each of D channels."""
    return num_tokens + dim


def quantize(tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(…, N, D) float → codes (…, N, D) int8 and scales (…, N + D) float16, on the same device.

    Factors beyond float16 are infinite.
    """
    values = tokens.float()
    factors = values.square().mean(dim=-2).sqrt().clamp(min=SMALLEST_FACTOR).half()
    relative = values / factors.float().unsqueeze(-2)
    scales = _rounded_up(relative.abs().amax(dim=-1) / LARGEST_CODE)
    steps = scales.float().unsqueeze(-1)
    codes = torch.where(steps > 0, relative / steps, 0.0).round_().to(torch.int8)
    return codes, torch.cat([scales, factors], dim=-1)


def _rounded_up(scales: torch.Tensor) -> torch.Tensor:
    """Float32 ≥ 0 → float16 that is not smaller, so that no code exceeds 127."""
    nearest = scales.half()
    # the bits of positive floats are ordered as their values are
    above = (nearest.view(torch.int16) + 1).view(torch.float16)
    return torch.where(nearest.float() < scales, above, nearest)


def dequantize(codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Codes (…, N, D) int8 and scales (…, N + D) float16 → tokens (…, N, D) float32."""
    num_tokens = codes.shape[-2]
    steps, factors = scales[..., :num_tokens].float(), scales[..., num_tokens:].float()
    return codes.float() * factors.unsqueeze(-2) * steps.unsqueeze(-1)

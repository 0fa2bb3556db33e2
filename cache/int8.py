"""Tokens in eight bits: integer codes, and a scale for each token and group of channels.

    scale = max |x| / 127 over the group,   code = round(x / scale),   x ≈ code · scale

An error is at most half a scale. Backbones have a few channels whose values are a hundred times those of
the others (Sun et al. 2024, arXiv 2402.17762; Darcet et al. 2024, arXiv 2309.16588): one scale for a whole
token would leave the others no more than their sign. Groups keep the damage to an outlier's neighbours.
"""

from __future__ import annotations

import torch

CHANNELS_PER_SCALE = 64
"""At most so many channels share a scale. Half the width would gain little and cost 3 % of the store."""

LARGEST_CODE = 127

LARGEST_VALUE = LARGEST_CODE * torch.finfo(torch.float16).max
"""Beyond this a scale has no float16."""


def num_groups(dim: int) -> int:
    """G, the number of scales of a token of D channels."""
    return -(-dim // CHANNELS_PER_SCALE)


def _group_width(dim: int, groups: int) -> int:
    """Channels of each group; the last one has fewer where they don't divide D."""
    return -(-dim // groups)


def quantize(tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(…, D) float → codes (…, D) int8 and scales (…, G) float16, on the same device.

    Scales beyond float16 are infinite.
    """
    dim = tokens.shape[-1]
    groups = num_groups(dim)
    width = _group_width(dim, groups)
    padded = torch.nn.functional.pad(tokens.float(), (0, groups * width - dim))
    grouped = padded.view(*padded.shape[:-1], groups, width)
    scales = _rounded_up(grouped.abs().amax(dim=-1) / LARGEST_CODE)
    steps = scales.float().unsqueeze(-1)
    codes = torch.where(steps > 0, grouped / steps, 0.0).round_().to(torch.int8)
    return codes.flatten(-2)[..., :dim].contiguous(), scales


def _rounded_up(scales: torch.Tensor) -> torch.Tensor:
    """Float32 ≥ 0 → float16 that is not smaller, so that no code exceeds 127."""
    nearest = scales.half()
    # the bits of positive floats are ordered as their values are
    above = (nearest.view(torch.int16) + 1).view(torch.float16)
    return torch.where(nearest.float() < scales, above, nearest)


def dequantize(codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Codes (…, D) int8 and scales (…, G) float16 → tokens (…, D) float32."""
    dim, groups = codes.shape[-1], scales.shape[-1]
    width = _group_width(dim, groups)
    if dim == groups * width:
        grouped = codes.float().view(*codes.shape[:-1], groups, width)
        return (grouped * scales.float().unsqueeze(-1)).flatten(-2)
    return codes.float() * scales.float().repeat_interleave(width, dim=-1)[..., :dim]

"""The maps of a probe, as distributions over the patches."""

from __future__ import annotations

import torch

from probe.probe import Probe


def has_maps(probe: Probe) -> bool:
    """Whether its pooling has maps: the linear probes have none."""
    return hasattr(probe.pooling, "attention")


def patch_maps(probe: Probe, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps (B, M, N) of one trial over the patches, rows summing to 1, and what they had there: (B, M).

    tokens (B, N, D) or, with [CLS] first, (B, 1 + N, D). The share is below 1 where a query attends to more
    than the patches ([CLS], CaiT's class token); of gates (CBAM, DELF) it is their sum over the patches.
    """
    weights = probe.pooling.attention(tokens)[0]  # type: ignore[operator, union-attr]
    if probe.token_set == "all":
        weights = weights[..., 1:]
    share = weights.sum(dim=-1)
    # a query that leaves the patches nothing is taken as uniform on them
    maps = torch.where(share.unsqueeze(-1) > 0, weights / share.unsqueeze(-1), 1 / weights.shape[-1])
    return maps, share

"""Measures of maps p (B, M, N): distributions of M queries over N patches.

docs/attention.md has the formulas. Each gives one value for every image and query, (B, M).
"""

from __future__ import annotations

import math

import torch


def entropy(maps: torch.Tensor) -> torch.Tensor:
    """−Σ_n p_n log p_n / log N: 0 for a single patch, 1 for the uniform map."""
    found: torch.Tensor = -torch.special.xlogy(maps, maps).sum(dim=-1) / math.log(max(2, maps.shape[-1]))
    return found


def similarities(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine between a query's map and those of the others of the same image: their mean, and the highest.

    M must be 2 or more.
    """
    unit = torch.nn.functional.normalize(maps, dim=-1)
    cosines = unit @ unit.mT
    own = torch.eye(maps.shape[1], dtype=torch.bool, device=maps.device)
    others = cosines.masked_fill(own, 0).sum(dim=-1) / (maps.shape[1] - 1)
    return others, cosines.masked_fill(own, -torch.inf).amax(dim=-1)


def inside(maps: torch.Tensor, grid: tuple[int, int], masks: torch.Tensor) -> dict[str, torch.Tensor]:
    """How much of each map is on the object: `mass`, `centroid` and `peak`, and the object's own `area`.

    masks (B, H, W) bool, of the picture that the tokens are of. mass: Σ_n p_n c_n, c_n being the share of
    token n's cell that the object covers. centroid, peak: 1 where the mean place Σ_n p_n (x_n, y_n), or the
    middle of the cell with the largest p_n, is a pixel of the object. area: mean of c_n, what a uniform map
    has as mass.
    """
    covered = torch.nn.functional.interpolate(masks[:, None].to(maps.dtype), grid, mode="area").flatten(2)
    rows, columns = grid
    height, width = masks.shape[1:]
    middle_y = (torch.arange(rows, device=maps.device) + 0.5) * (height / rows)
    middle_x = (torch.arange(columns, device=maps.device) + 0.5) * (width / columns)
    y = middle_y.repeat_interleave(columns).to(maps.dtype)
    x = middle_x.repeat(rows).to(maps.dtype)
    highest = maps.argmax(dim=-1)
    return {
        "mass": (maps * covered).sum(dim=-1),
        "centroid": _at(masks, maps @ y, maps @ x),
        "peak": _at(masks, y[highest], x[highest]),
        "area": covered.mean(dim=-1).expand(maps.shape[:2]),
    }


def _at(masks: torch.Tensor, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """1 where the places y, x (B, M), in pixels, are on the object of their image."""
    rows = y.long().clamp(0, masks.shape[1] - 1)
    columns = x.long().clamp(0, masks.shape[2] - 1)
    images = torch.arange(len(masks), device=masks.device).unsqueeze(1)
    return masks[images, rows, columns].to(y.dtype)

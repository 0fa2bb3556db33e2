"""Coarser token grids: the mean of each window."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cache.final_norm import FinalNorm
from configs import UserError


def divides(factor: int, grid: tuple[int, ...]) -> bool:
    """Whether windows of `factor` tokens along every axis cover `grid` exactly. Axes of one token stay."""
    return any(size > 1 for size in grid) and all(size == 1 or size % factor == 0 for size in grid)


def pooled_grid(grid: tuple[int, ...], factor: int) -> tuple[int, ...]:
    """The grid of the means of windows. Raises `UserError` where they do not cover `grid` exactly."""
    if not divides(factor, grid):
        shown = "×".join(map(str, grid))
        raise UserError(f"--pool {factor}: windows of {factor} do not divide the token grid {shown}")
    return tuple(1 if size == 1 else size // factor for size in grid)


def pool_grid(tokens: torch.Tensor, grid: tuple[int, ...], factor: int) -> torch.Tensor:
    """(…, N, D) tokens, row-major over `grid` → (…, N', D), the mean of each window."""
    coarse = pooled_grid(grid, factor)
    windows = [part for new, old in zip(coarse, grid, strict=True) for part in (new, old // new)]
    lead = tokens.ndim - 2
    inside = tuple(range(lead + 1, lead + len(windows), 2))
    split = tokens.reshape(*tokens.shape[:lead], *windows, tokens.shape[-1])
    return split.mean(dim=inside).flatten(lead, -2)


@dataclass(frozen=True)
class Pooling:
    """Windows of `factor` tokens become one. `grids`: of every block, before it."""

    factor: int
    grids: tuple[tuple[int, ...], ...]
    norm: FinalNorm | None

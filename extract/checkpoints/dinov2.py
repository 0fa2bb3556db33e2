"""DINOv2, with and without registers, and Franca: names, chunks of blocks, position embeddings."""

from __future__ import annotations

import math
import re
from typing import Any

import torch
import torch.nn.functional as F

from extract.checkpoints.layout import Layout, State

OFFSET = 0.1
"""What the official code adds to the new grid before it divides by the old one (`interpolate_offset`)."""


def _convert(state: State, model: Any) -> State:
    state = {_timm_name(name): tensor for name, tensor in state.items()}
    grid = model.patch_embed.grid_size
    if model.reg_token is None:
        state["pos_embed"] = _resized(state["pos_embed"], grid)
        return state
    # timm's models with registers add the class token's position to the token itself
    positions = state["pos_embed"]
    state["cls_token"] = state["cls_token"] + positions[:, :1]
    state["pos_embed"] = _resized(positions, grid, antialias=True)[:, 1:]
    return state


def _timm_name(name: str) -> str:
    name = re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", name)  # a chunk, then the block's own number
    name = name.replace(".mlp.w12.", ".mlp.fc1.").replace(".mlp.w3.", ".mlp.fc2.")
    return "reg_token" if name == "register_tokens" else name


def _resized(positions: torch.Tensor, grid: tuple[int, int], *, antialias: bool = False) -> torch.Tensor:
    """(1, 1 + n², D) → (1, 1 + h·w, D), as `interpolate_pos_encoding` of the official code.

    Models with registers are resized to the size itself with antialiasing, those without by an offset
    scale and without: timm does the first for all, 1 % away from the second.
    """
    side = math.isqrt(positions.shape[1] - 1)
    if (side, side) == tuple(grid):
        return positions
    dim = positions.shape[-1]
    patches = positions[:, 1:].float().reshape(1, side, side, dim).permute(0, 3, 1, 2)
    if antialias:
        patches = F.interpolate(patches, size=tuple(grid), mode="bicubic", antialias=True)
    else:
        scale = tuple((length + OFFSET) / side for length in grid)
        patches = F.interpolate(patches, scale_factor=scale, mode="bicubic", antialias=False)
    return torch.cat([positions[:, :1].float(), patches.flatten(2).mT], dim=1)


DINOV2 = Layout(
    "dinov2",
    wrappers=("teacher", "model"),
    prefixes=("module.", "backbone."),
    convert=_convert,
    dropped=("mask_token", "dino_head.*", "ibot_head.*"),
)
FRANCA = Layout(
    "franca",
    wrappers=DINOV2.wrappers,
    prefixes=DINOV2.prefixes,
    convert=_convert,
    dropped=(*DINOV2.dropped, "rasa_head.*"),
)

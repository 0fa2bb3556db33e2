"""Franca: DINOv2's transformer with SwiGLU at every size, which timm has at the largest only."""

from __future__ import annotations

from typing import Any

import timm
from timm.layers.mlp import SwiGLUPacked
from torch import nn


def franca_vitb14(**arguments: Any) -> nn.Module:
    """ViT-B/14, hidden width 2048."""
    return _franca("vit_base_patch14_dinov2", 2048 / 768, arguments)


def franca_vitl14(**arguments: Any) -> nn.Module:
    """ViT-L/14, hidden width 2736."""
    return _franca("vit_large_patch14_dinov2", 2736 / 1024, arguments)


def _franca(base: str, ratio: float, arguments: dict[str, Any]) -> nn.Module:
    # gate and value are one layer, hence twice the width; the class brings its own SiLU
    chosen = {"img_size": 224, "mlp_layer": SwiGLUPacked, "act_layer": nn.SiLU, "mlp_ratio": 2 * ratio}
    model: nn.Module = timm.create_model(base, num_classes=0, **{**chosen, **arguments})
    return model

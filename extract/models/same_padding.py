"""ResNet-50 with TensorFlow's SAME padding, as DeepMind trained BYOL."""

from __future__ import annotations

from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import nn

Pad = tuple[int, int, int, int]
"""Rows and columns to add: left, right, top, bottom."""


def resnet50() -> nn.Module:
    """timm's resnet50 for images of even height and width, padded more at the right and bottom.

    PyTorch pads a layer of stride 2 evenly, which shifts what it sees: 24 % away from these weights.
    """
    model: Any = timm.create_model("resnet50", num_classes=0)
    _pad_before(model.conv1, (2, 3, 2, 3))
    _pad_before(model.maxpool, (0, 1, 0, 1), float("-inf"))  # the padding is never the largest
    for layer in (model.layer2, model.layer3, model.layer4):
        _pad_before(layer[0].conv2, (0, 1, 0, 1))
    result: nn.Module = model
    return result


def _pad_before(module: nn.Conv2d | nn.MaxPool2d, pad: Pad, value: float = 0.0) -> None:
    """Let `module` pad its input by `pad` in place of its own padding. Its tensors keep their names."""
    module.padding = (0, 0)

    def padded(module: nn.Module, inputs: tuple[torch.Tensor]) -> torch.Tensor:
        return F.pad(inputs[0], pad, value=value)

    module.register_forward_pre_hook(padded)

"""Starting values that several published modules share."""

from __future__ import annotations

from torch import nn

from probe.stacked.linear import Linear


def start_linears(module: nn.Module, std: float = 0.02) -> None:
    """Weights of all linear layers in `module` from a normal of `std`, cut at ±2; biases at 0."""
    for part in module.modules():
        if isinstance(part, Linear):
            nn.init.trunc_normal_(part.weight, std=std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)

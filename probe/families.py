"""The families of attentive probes, and how each makes its pooling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from probe import poolings
from probe.poolings.description import Description


@dataclass(frozen=True)
class TokenGeometry:
    """What a pooling reads: tokens of width D, a grid of them, and whether [CLS] comes before them."""

    dim: int
    grid: tuple[int, ...]
    cls: bool = False


@dataclass(frozen=True)
class Family:
    """Probes of one mechanism. `number`: queries or heads as published; None where none can be chosen."""

    name: str
    number: int | None
    description: Description
    make: Callable[[TokenGeometry, int, int], nn.Module]
    """(tokens, number, output divisor) → the pooling."""


def _with_heads(name: str, heads: int, pooling: Any) -> Family:
    return Family(name, heads, pooling.description, lambda tokens, number, _: pooling(tokens.dim, number))


def _fixed(name: str, pooling: Any) -> Family:
    return Family(name, None, pooling.description, lambda tokens, *_: pooling(tokens.dim))


_EP = Family(
    "ep",
    32,
    poolings.EfficientPooling.description,
    lambda tokens, queries, divisor: poolings.EfficientPooling(tokens.dim, queries, divisor),
)
_CLIP = Family(
    "clip",
    4,
    poolings.CLIPPooling.description,
    lambda tokens, heads, _: poolings.CLIPPooling(tokens.dim, tokens.grid, cls=tokens.cls, heads=heads),
)
_CBAM = Family(
    "cbam",
    None,
    poolings.CBAMPooling.description,
    lambda tokens, *_: poolings.CBAMPooling(tokens.dim, tokens.grid, cls=tokens.cls),
)

FAMILIES = {
    family.name: family
    for family in (
        _EP,
        _with_heads("mhca", 8, poolings.MultiHeadPooling),
        _with_heads("aim", 16, poolings.AIMPooling),
        _with_heads("vjepa", 16, poolings.VJEPAPooling),
        _with_heads("vjepa2", 16, poolings.VJEPA2Pooling),
        _fixed("simpool", poolings.SimPool),
        _with_heads("esimpool", 12, poolings.ESimPool),
        _with_heads("cae", 8, poolings.CAEPooling),
        _fixed("capi", poolings.CAPIPooling),
        _CLIP,
        _with_heads("siglip", 8, poolings.SigLIPPooling),
        _with_heads("coca", 8, poolings.CoCaPooling),
        _with_heads("cait", 4, poolings.CaiTPooling),
        _with_heads("vit", 8, poolings.ViTPooling),
        _fixed("abmilp", poolings.ABMILPPooling),
        _fixed("abmilp_linear", poolings.LinearABMILPPooling),
        _CBAM,
        _fixed("delf", poolings.DELFPooling),
    )
}

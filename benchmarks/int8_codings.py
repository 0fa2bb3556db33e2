"""The ways to store tokens that are compared: each encodes and decodes them, and counts their bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from cache import decode, encode


@dataclass(frozen=True)
class Coding:
    """A way to store tokens: (patches, prefix) → the same, decoded; and bytes of one sample of (N, P, D)."""

    decoded: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
    bytes: Callable[[int, int, int], int]


def _floats(dtype: torch.dtype) -> Coding:
    return Coding(
        lambda patches, prefix: (patches.to(dtype).float(), prefix.to(dtype).float()),
        lambda n, p, d: (n + p) * d * dtype.itemsize,
    )


def _stored_int8(patches: torch.Tensor, prefix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What a store with `--dtype int8` gives back."""
    encoded = encode(patches, "int8")
    assert encoded.finite()
    return decode(encoded.tokens, encoded.scales), prefix.half().float()


def _rounded_in_groups(tokens: torch.Tensor, width: int) -> torch.Tensor:
    """(…, D) tokens as codes of 8 bits, times a scale for each token and `width` channels."""
    groups = []
    for channels in tokens.split(width, dim=-1):
        scale = (channels.abs().amax(dim=-1, keepdim=True) / 127).half().float()
        groups.append(torch.where(scale > 0, channels / scale, 0.0).round().clamp(-127, 127) * scale)
    return torch.cat(groups, dim=-1)


def _grouped(width: int) -> Coding:
    return Coding(
        lambda patches, prefix: (_rounded_in_groups(patches, width), _rounded_in_groups(prefix, width)),
        lambda n, p, d: (n + p) * (d + 2 * -(-d // width)),
    )


CODINGS = {
    "float32": _floats(torch.float32),
    "float16": _floats(torch.float16),
    "bfloat16": _floats(torch.bfloat16),
    "int8": Coding(_stored_int8, lambda n, p, d: n * d + 2 * (n + d) + 2 * p * d),
    "8 bits, a scale per token": _grouped(10**6),
    "8 bits, groups of 64": _grouped(64),
    "8 bits, groups of 32": _grouped(32),
}

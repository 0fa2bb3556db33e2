"""Tokens in 16 bits, as what they differ by from the mean of their image.

Attention does not change where all tokens of an image are moved by the same, and what it pools moves with
them. So rounding need not cost a share of the tokens, only of their differences: in backbones with channels
that are large in all tokens, what is left of the rest would otherwise be lost, and the queries' gradient with
it (docs/gpu.md has figures).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class CentredTokens:
    """Tokens are `values` (B, N, D), in 16 bits, plus their image's `centre` (B, D) float32."""

    values: torch.Tensor
    centre: torch.Tensor

    @property
    def decoded(self) -> torch.Tensor:
        """(B, N, D) float32."""
        return self.values + self.centre.unsqueeze(1)


def centred(tokens_BND: torch.Tensor, dtype: torch.dtype) -> CentredTokens:
    """float32 tokens with `values` in `dtype`."""
    centre = tokens_BND.mean(dim=1)
    values = torch.empty_like(tokens_BND, dtype=dtype)
    # what is between float32 and `dtype` stays in a CPU's cache
    images = range(len(values)) if values.device.type == "cpu" else (slice(None),)
    for part in images:
        torch.sub(tokens_BND[part], centre[part].unsqueeze(-2), out=values[part])
    return CentredTokens(values, centre)

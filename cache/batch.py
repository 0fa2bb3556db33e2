"""What the loader gives and a probe takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal, TypeAlias

import torch

from cache.encode import decode

TokenArray: TypeAlias = Literal["patches", "patches_scale", "prefix", "mean", "mean_normed"]
"""The token arrays of a block."""


@dataclass(frozen=True)
class TokenBatch:
    """B records of a split, holding only the arrays that were asked for; the others are None.

    patches (B, N, D) and prefix (B, P, D) are in the stored dtype, before the final norm, with the
    patches' scales (B, N + D) where these are int8; mean and mean_normed (B, D) float32; labels and index
    (B,) int64, index being the record's position.
    """

    labels: torch.Tensor
    index: torch.Tensor
    patches: torch.Tensor | None = None
    prefix: torch.Tensor | None = None
    mean: torch.Tensor | None = None
    mean_normed: torch.Tensor | None = None
    patches_scale: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def decoded(self, kind: Literal["patches", "prefix"]) -> torch.Tensor | None:
        """Patches or prefix in float32, or None where the batch has none. Computed where the batch is."""
        stored = getattr(self, kind)
        scales = self.patches_scale if kind == "patches" else None
        return None if stored is None else decode(stored, scales)

    def to(self, device: torch.device, *, non_blocking: bool = False) -> TokenBatch:
        """The same batch on `device`."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> TokenBatch:
        """The same batch in page-locked memory (`torch.utils.data.DataLoader` calls this)."""
        return self._each(torch.Tensor.pin_memory)

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> TokenBatch:
        held = {f.name: getattr(self, f.name) for f in fields(self)}
        changed = {name: change(tensor) for name, tensor in held.items() if tensor is not None}
        return TokenBatch(**changed)

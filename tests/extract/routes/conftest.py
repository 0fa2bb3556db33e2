from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from extract import Backbone


@pytest.fixture
def images() -> torch.Tensor:
    """Two normalised images of 64 × 64."""
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def normed() -> Callable[[Backbone, torch.Tensor], torch.Tensor]:
    """(backbone, images) → the last block's tokens after the final norm, prefix first."""

    @torch.inference_mode()
    def read(backbone: Backbone, images: torch.Tensor) -> torch.Tensor:
        (last,) = backbone.read(images, [len(backbone.blocks) - 1])
        tokens = last.patches if last.prefix is None else torch.cat([last.prefix, last.patches], dim=1)
        return tokens if backbone.final_norm is None else backbone.final_norm(tokens)

    return read

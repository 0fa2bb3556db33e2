"""What a model that is not timm's must say to be read as timm's are."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}

WRAP_IT = (
    "wrap it in a function that returns an extract.models.token_model.TokenModel, and give "
    "python:MODULE.FUNCTION"
)
"""What to do with a model that cannot be read as it is."""


class TokenModel(nn.Module, ABC):
    """A model whose blocks give tokens, with the parts of timm's interface that a `Backbone` reads.

    Subclasses give the states of their blocks; what they say of their prefix, norm and input is the rest.
    """

    prefix_roles: tuple[str, ...] = ()
    """What each prefix token is; prefix tokens come first."""

    def __init__(self, depth: int, transform: dict[str, Any]) -> None:
        super().__init__()
        self.norm: nn.Module | None = None  # the final norm of all tokens
        self.feature_info = [{"block": number} for number in range(depth)]
        self.pretrained_cfg = transform

    @abstractmethod
    def block_states(self, images: torch.Tensor, blocks: Sequence[int]) -> list[torch.Tensor]:
        """States after each of `blocks`, ascending: (B, P + N, D) tokens, or (B, C, H, W) maps."""

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """What the model itself gives after its last block and its norm."""
        (last,) = self.block_states(images, [len(self.feature_info) - 1])
        return last if self.norm is None else self.norm(last)

    def forward_intermediates(
        self,
        images: torch.Tensor,
        indices: Sequence[int],
        norm: bool,
        output_fmt: str,
        intermediates_only: bool,
        return_prefix_tokens: bool = False,
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """timm's method, for the options that a `Backbone` gives: pairs of patches and prefix tokens."""
        assert not norm
        assert intermediates_only
        assert return_prefix_tokens
        pairs = [self._split(state) for state in self.block_states(images, indices)]
        if output_fmt == "NLC":
            return pairs
        height, width = images.shape[-2:]
        return [(_as_map(patches, height / width), prefix) for patches, prefix in pairs]

    def _split(self, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = state.flatten(2).mT if state.ndim == 4 else state
        prefix = len(self.prefix_roles)
        return tokens[:, prefix:], tokens[:, :prefix]


def _as_map(patches: torch.Tensor, ratio: float) -> torch.Tensor:
    """(B, N, D) → (B, D, h, w) with h / w as in the image, or (B, D, N) where no such grid has N tokens."""
    count = patches.shape[1]
    height = max(1, round(math.sqrt(count * ratio)))
    columns = patches.mT
    return columns.unflatten(2, (height, count // height)) if count % height == 0 else columns

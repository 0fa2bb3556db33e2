"""Models of DINOv2's kin, which give their blocks' tokens by `get_intermediate_layers`."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from configs import UserError
from extract.models.token_model import WRAP_IT, TokenModel


def as_token_model(model: nn.Module, name: str) -> nn.Module:
    """`model` itself where it has timm's interface, else read by its `get_intermediate_layers`.

    Raises `UserError` for a model that has neither.
    """
    if hasattr(model, "forward_intermediates"):
        return model
    layers = getattr(model, "get_intermediate_layers", None)
    if layers is None or not {"norm", "return_class_token"} <= inspect.signature(layers).parameters.keys():
        raise UserError(
            f"{name} gives neither forward_intermediates, as timm's models do, nor get_intermediate_layers "
            f"with the options norm and return_class_token, as DINOv2 does: {WRAP_IT}"
        )
    return LayersModel(model)


class LayersModel(TokenModel):
    """A model of DINOv2's interface: patch tokens and [CLS]; registers where the model gives them."""

    def __init__(self, model: Any) -> None:
        super().__init__(len(model.blocks), getattr(model, "pretrained_cfg", {}))
        self.model = model
        self.norm = model.norm
        self._extra = "return_extra_tokens" in inspect.signature(model.get_intermediate_layers).parameters
        registers = getattr(model, "n_storage_tokens", 0) if self._extra else 0
        self.prefix_roles = ("cls", *["register"] * registers)

    def block_states(self, images: torch.Tensor, blocks: Sequence[int]) -> list[torch.Tensor]:
        options = {"return_extra_tokens": True} if self._extra else {}
        found = self.model.get_intermediate_layers(
            images, n=list(blocks), norm=False, return_class_token=True, **options
        )
        # (patches, class token) or (patches, class token, registers)
        return [torch.cat([cls[:, None], *extra, patches], dim=1) for patches, cls, *extra in found]

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        ((patches, cls),) = self.model.get_intermediate_layers(
            images, n=1, norm=True, return_class_token=True
        )
        return torch.cat([cls[:, None], patches], dim=1)

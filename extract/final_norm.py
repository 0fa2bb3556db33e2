"""Finding a model's final norm by what it does, not by what it is called."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from cache import FinalNorm


def find_final_norm(model: Any, image: torch.Tensor, patches: torch.Tensor) -> FinalNorm | None:
    """The norm that `forward_features` applies to the last block's tokens, or None.

    Models keep it in `norm`, leave it to their head (`fc_norm`, `head.norm`) or have none. It is taken only
    if applying it to `patches` (1, N, D), the last block's tokens for `image` (1, 3, H, W), gives
    what the model itself gives.
    """
    norm = _as_final_norm(getattr(model, "norm", None), patches.shape[-1])
    if norm is None:
        return None
    normed = norm(patches.float())
    features = _as_tokens(model.forward_features(image), patches.shape)
    if features is None or not torch.allclose(features, normed, rtol=1e-3, atol=1e-4):
        return None
    return norm


def _as_final_norm(module: Any, dim: int) -> FinalNorm | None:
    if isinstance(module, nn.LayerNorm) and tuple(module.normalized_shape) == (dim,):
        return FinalNorm("layer_norm", module.eps, _copy(module.weight), _copy(module.bias))
    is_rms = isinstance(module, nn.RMSNorm) or type(module).__name__.startswith("RmsNorm")
    if is_rms and tuple(module.normalized_shape) == (dim,):
        return FinalNorm("rms_norm", float(module.eps), _copy(module.weight), None)
    return None


def _copy(parameter: torch.Tensor | None) -> torch.Tensor | None:
    return None if parameter is None else parameter.detach().float().clone()


def _as_tokens(features: torch.Tensor, shape: torch.Size) -> torch.Tensor | None:
    """`forward_features` output as the (1, N, D) patch tokens, whatever layout the model uses."""
    if features.ndim == 4:
        channels_last = features.shape[-1] == shape[-1]
        features = features.flatten(1, 2) if channels_last else features.flatten(2).mT
    if features.ndim != 3 or features.shape[1] < shape[1] or features.shape[2] != shape[2]:
        return None
    return features[:, features.shape[1] - shape[1] :].float()

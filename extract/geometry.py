"""What a model gives, measured by passing one image through it."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from cache import ArraySpec, BlockGeometry, TokenDtype, token_arrays


@dataclass(frozen=True)
class Geometry:
    """Grid and width of every block, what each prefix token is, and whether the model ends in a norm.

    `final_norm` goes by the norm's shape alone. Whether the model applies it to its tokens is seen from
    their values (`find_final_norm`), which a model on torch's `meta` device has not.
    """

    blocks: tuple[BlockGeometry, ...]
    prefix: tuple[str, ...]
    final_norm: bool

    def block_arrays(self, block: int, dtype: TokenDtype) -> tuple[ArraySpec, ...]:
        """What a store holds of `block`."""
        return token_arrays(
            block,
            num_tokens=self.blocks[block].num_tokens,
            num_prefix=len(self.prefix),
            dim=self.blocks[block].dim,
            dtype=dtype,
            views=1,
            normed_mean=self.final_norm and self.blocks[block].dim == self.blocks[-1].dim,
        )


@torch.inference_mode()
def measure_geometry(model: Any, image: torch.Tensor) -> Geometry:
    """The geometry of a timm model in eval mode; `image` (1, 3, H, W), on any device, `meta` too."""
    options = {"return_prefix_tokens": True} if gives_prefix(model) else {}
    found = model.forward_intermediates(
        image,
        indices=list(range(len(model.feature_info))),
        norm=False,
        output_fmt="NCHW",
        intermediates_only=True,
        **options,
    )
    pairs = with_prefix(found)
    blocks = tuple(BlockGeometry(grid=tuple(map_.shape[2:]), dim=map_.shape[1]) for map_, _ in pairs)
    norm_shape = getattr(getattr(model, "norm", None), "normalized_shape", ())
    return Geometry(blocks, _prefix_roles(model, pairs[-1][1]), tuple(norm_shape) == (blocks[-1].dim,))


def gives_prefix(model: Any) -> bool:
    """Whether the model's `forward_intermediates` can give prefix tokens beside the patches."""
    return "return_prefix_tokens" in inspect.signature(model.forward_intermediates).parameters


def with_prefix(found: Iterable[Any]) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    """What `forward_intermediates` gave, as pairs of patches and prefix tokens (B, P, D), or None."""
    pairs = [entry if isinstance(entry, tuple) else (entry, None) for entry in found]
    return [(patches, x if x is not None and x.shape[1] else None) for patches, x in pairs]


def _prefix_roles(model: nn.Module, prefix: torch.Tensor | None) -> tuple[str, ...]:
    """What each prefix token is: `cls`, `dist` (DeiT's distillation token) or `register`."""
    if prefix is None:
        return ()
    stated: tuple[str, ...] = getattr(model, "prefix_roles", ())
    roles = list(stated) or [
        role
        for role, parameter in (("cls", "cls_token"), ("dist", "dist_token"))
        if getattr(model, parameter, None) is not None
    ]
    return tuple(roles + ["register"] * (prefix.shape[1] - len(roles)))

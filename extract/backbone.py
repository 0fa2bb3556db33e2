"""A frozen backbone: images in, tokens of the chosen blocks out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from cache import BackboneIdentity, Computation
from configs import TokenState
from extract.final_norm import find_final_norm
from extract.geometry import gives_prefix, measure_geometry, with_prefix
from extract.transform import DECODING, Normalize
from extract.weights import weights_hash

Amp = Literal["none", "bfloat16", "float16"]
"""Precision of the forward pass: float32, or mixed with bfloat16 or float16."""


@dataclass(frozen=True)
class BlockTokens:
    """Tokens of one block before the final norm: patches (B, N, D), prefix (B, P, D) or None."""

    patches: torch.Tensor
    prefix: torch.Tensor | None


class Backbone(nn.Module):
    """A timm model, or a `TokenModel`, in eval mode, without gradients, read after any of its blocks.

    A block is an entry of timm's `feature_info`: a transformer block, or a stage of a hierarchical or
    convolutional model, whose feature map is taken as tokens. What a model gives is not looked up
    but measured, by passing one image through it.
    """

    def __init__(
        self,
        model: Any,
        *,
        name: str,
        source: str,
        transform: dict[str, Any],
        tokens: TokenState | None = None,
        licence: str | None = None,
        amp: Amp = "none",
    ) -> None:
        super().__init__()
        self.model: Any = model.eval().requires_grad_(False)
        self.name = name
        self.source = source
        self.transform = transform
        self.licence = licence
        self.amp = amp
        self.normalize = Normalize(transform)
        self._has_prefix = gives_prefix(model)
        self._computation = Computation(batch_size=1)
        self._compiled: Callable[..., list[BlockTokens]] | None = None
        self._measure()
        self.tokens_state: TokenState = tokens or ("post" if self.final_norm else "pre")

    @torch.inference_mode()
    def _measure(self) -> None:
        generator = torch.Generator().manual_seed(0)
        image = torch.rand((1, *self.transform["input_size"]), generator=generator)
        geometry = measure_geometry(self.model, image)
        self.blocks = geometry.blocks
        self.prefix_roles = geometry.prefix
        last = self.read(image, [len(self.blocks) - 1])[0]
        self.final_norm = find_final_norm(self.model, image, last.patches)

    def read(self, images: torch.Tensor, blocks: Sequence[int]) -> list[BlockTokens]:
        """Tokens of `blocks` (ascending) for images (B, 3, H, W) float32 that are normalised."""
        if self._has_prefix:
            found = self.model.forward_intermediates(
                images,
                indices=list(blocks),
                norm=False,
                output_fmt="NLC",
                return_prefix_tokens=True,
                intermediates_only=True,
            )
            return [BlockTokens(patches, prefix) for patches, prefix in with_prefix(found)]
        maps = self.model.forward_intermediates(
            images, indices=list(blocks), norm=False, output_fmt="NCHW", intermediates_only=True
        )
        return [BlockTokens(m.flatten(2).transpose(1, 2), None) for m in maps]

    @torch.inference_mode()
    def forward(self, images: torch.Tensor, blocks: Sequence[int]) -> dict[int, BlockTokens]:
        """(B, 3, H, W) uint8 images, cropped but not normalised → tokens of each of `blocks`."""
        dtypes = {"bfloat16": torch.bfloat16, "float16": torch.float16}
        with torch.autocast(
            images.device.type, dtypes.get(self.amp, torch.bfloat16), enabled=self.amp != "none"
        ):
            found = self._read_as_decided(self.normalize(images), sorted(blocks))
        return dict(zip(sorted(blocks), found, strict=True))

    def _read_as_decided(self, images: torch.Tensor, blocks: Sequence[int]) -> list[BlockTokens]:
        if self._computation.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        if self._compiled is None:
            return self.read(images, blocks)
        count, missing = len(images), self._computation.batch_size - len(images)
        # one size of batches is compiled once; rows do not depend on one another
        found = self._compiled(nn.functional.pad(images, (0, 0) * 3 + (0, missing)), blocks)
        return [
            BlockTokens(tokens.patches[:count], None if tokens.prefix is None else tokens.prefix[:count])
            for tokens in found
        ]

    def decode_as(self, transform: Mapping[str, Any]) -> None:
        """Have images decoded and resized as `transform` says, that of a store; all else stays its own."""
        self.transform |= {name: transform[name] for name in DECODING if name in transform}

    def compute_as(self, computation: Computation) -> None:
        """Compute batches so from now on. What is compiled takes no more than `batch_size` images."""
        if computation == self._computation:
            return
        form = torch.channels_last if computation.channels_last else torch.contiguous_format
        for parameter in self.model.parameters():
            if parameter.dim() == 4:  # the kernels of convolutions
                parameter.data = parameter.data.contiguous(memory_format=form)
        self._compiled = torch.compile(self.read, dynamic=False) if computation.compiled else None
        self._computation = computation

    def place_on(self, device: torch.device) -> None:
        """Move the model, its normalisation and its final norm to `device`."""
        self.to(device)
        if self.final_norm is not None:
            self.final_norm = self.final_norm.to(device)

    def identity(self) -> BackboneIdentity:
        """What a store keeps of this backbone, and compares."""
        return BackboneIdentity(
            name=self.name,
            source=self.source,
            weights_sha256=weights_hash(self.model),
            transform=self.transform,
            precision="float32" if self.amp == "none" else f"{self.amp} autocast",
            prefix=self.prefix_roles,
            blocks=self.blocks,
            final_norm=self.final_norm.description if self.final_norm else None,
        )

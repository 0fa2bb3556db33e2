"""Backbone, final norm and head as one module."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from cache import FinalNorm, TokenDtype
from extract.backbone import Backbone
from probe.deployment.head_description import HeadDescription
from probe.deployment.live_tokens import live_batch, rounded
from probe.fused import Tokens
from probe.probe import Probe


class TokenClassifier(nn.Module):
    """The head alone: the tokens that it reads → logits (B, C).

    Tokens are float32, (B, N, D) or, for linear probes, (B, D): those of the description's token set, blocks
    combined, after the final norm where the head was trained on such.
    """

    def __init__(self, probe: Probe, head: HeadDescription) -> None:
        super().__init__()
        self.probe = probe
        self.head = head

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.probe(tokens)[0]
        return logits


class ImageClassifier(nn.Module):
    """Normalised images (B, 3, H, W) float32 → logits (B, C).

    The backbone computes in the precision that it was opened with. Its tokens go to the head in float32.
    `rounding` gives them the values that a store of this dtype gives back, and `precision` those that
    training with `--precision` read: together, the run's own numbers.
    """

    norm_weight: torch.Tensor | None
    norm_bias: torch.Tensor | None

    def __init__(
        self,
        backbone: Backbone,
        probe: Probe,
        head: HeadDescription,
        *,
        rounding: TokenDtype | None = None,
        precision: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.probe = probe
        self.head = head
        self.rounding, self.precision = rounding, precision
        norm = backbone.final_norm
        for name in ("weight", "bias"):  # buffers of this module, so that they move and are saved with it
            value = None if norm is None else getattr(norm, name)
            self.register_buffer(f"norm_{name}", None if value is None else value.clone())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classified(self.tokens(images))

    def classified(self, tokens: Tokens) -> torch.Tensor:
        """The head's logits (B, C) of what `tokens` gives."""
        logits: torch.Tensor = self.probe(tokens)[0]
        return logits

    def tokens(self, images: torch.Tensor) -> Tokens:
        """What the head reads of normalised images: (B, N, D), or (B, D) for linear probes."""
        norm = self._norm()
        inputs, token_set = self.head.inputs(norm, self.precision), self.head.token_set
        arrays, blocks = inputs.arrays([token_set]), sorted(self.head.blocks)
        with self._precision(images.device.type):
            read = dict(zip(blocks, self.backbone.read(images, blocks), strict=True))
        batches = [live_batch(read[block], norm, arrays) for block in self.head.blocks]
        if self.rounding is not None:
            batches = [rounded(batch, self.rounding) for batch in batches]
        return inputs.for_probes(batches, [token_set])[token_set]

    @torch.inference_mode()
    def probabilities(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) uint8 images, resized and cropped but not normalised → (B, C)."""
        logits: torch.Tensor = self(self.backbone.normalize(images))
        return logits.softmax(dim=-1)

    def _norm(self) -> FinalNorm | None:
        norm = self.backbone.final_norm
        return None if norm is None else FinalNorm(norm.kind, norm.eps, self.norm_weight, self.norm_bias)

    def _precision(self, device: str) -> AbstractContextManager[object]:
        amp = self.backbone.amp
        return nullcontext() if amp == "none" else torch.autocast(device, getattr(torch, amp))

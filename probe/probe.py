"""A probe: pooling → batch norm → linear classifier."""

from __future__ import annotations

import torch
from torch import nn

from probe.families import TokenGeometry
from probe.fused import Tokens, decoded
from probe.names import TokenSet, probe_spec
from probe.stacked import BatchNorm, Linear, classification_losses, num_trials

BATCH_NORM_EPS = 1e-6
"""As MAE's linear probe and the EP paper's reference have it (`BatchNorm1d(affine=False, eps=1e-6)`)."""


class Probe(nn.Module):
    """Tokens → logits (K, B, C) of K trials; K = 1 unless `probe.stacked.stack` joined several.

    The batch norm has no parameters; the classifier has PyTorch's own start.
    """

    def __init__(self, token_set: TokenSet, pooling: nn.Module | None, width: int, num_classes: int) -> None:
        super().__init__()
        self.token_set = token_set
        self.pooling = pooling
        self.batch_norm = BatchNorm(width, BATCH_NORM_EPS)
        self.classifier = Linear(width, num_classes)

    @property
    def num_parameters(self) -> int:
        """Trainable parameters of one trial, classifier included."""
        return sum(parameter.numel() for parameter in self.parameters()) // num_trials(self)

    def forward(self, tokens: Tokens) -> torch.Tensor:
        """(B, N, D) tokens, or (B, D) for the linear probes, float32 → (K, B, C) logits."""
        logits: torch.Tensor = self.classifier(self._features(tokens))
        return logits

    def losses(self, tokens: Tokens, labels: torch.Tensor, images: int) -> torch.Tensor:
        """Cross-entropy of each trial over the batch, summed and divided by `images`: (K,)."""
        bias = self.classifier.bias
        assert bias is not None
        features = self._features(tokens)
        return classification_losses(features, self.classifier.weight, bias, labels, images)

    def _features(self, tokens: Tokens) -> torch.Tensor:
        """What the classifier sees: (K, B, W), or (1, B, W) where it is the same for all trials."""
        if not getattr(self.pooling, "reduced_precision", False):
            tokens = decoded(tokens).to(self.classifier.weight.dtype)
        pooled = decoded(tokens).unsqueeze(0) if self.pooling is None else self.pooling(tokens)
        features: torch.Tensor = self.batch_norm(pooled)
        return features


def build_probe(name: str, dim: int, num_classes: int, grid: tuple[int, ...] = (14, 14)) -> Probe:
    """The probe `name` for tokens of width `dim` on `grid`.

    Only probes with a position embedding or a convolution look at the grid. Raises `UserError` for an unknown
    or impossible probe.
    """
    spec = probe_spec(name)
    pooling = spec.pooling(TokenGeometry(dim, grid, cls=spec.token_set == "all"))
    width = dim if pooling is None else int(pooling.out_dim)  # type: ignore[arg-type]
    return Probe(spec.token_set, pooling, width, num_classes)

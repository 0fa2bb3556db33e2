"""A probe: pooling → batch norm → linear classifier."""

from __future__ import annotations

import torch
from torch import nn

from probe.names import TokenSet, probe_spec

BATCH_NORM_EPS = 1e-6
"""As MAE's linear probe and the EP paper's reference have it (`BatchNorm1d(affine=False, eps=1e-6)`)."""


class Probe(nn.Module):
    """Tokens → logits (B, C). The batch norm has no parameters; the classifier has PyTorch's own start."""

    def __init__(self, token_set: TokenSet, pooling: nn.Module | None, width: int, num_classes: int) -> None:
        super().__init__()
        self.token_set = token_set
        self.pooling = pooling
        self.batch_norm = nn.BatchNorm1d(width, affine=False, eps=BATCH_NORM_EPS)
        self.classifier = nn.Linear(width, num_classes)

    @property
    def num_parameters(self) -> int:
        """Trainable parameters, classifier included."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, N, D) tokens, or (B, D) for the linear probes, float32 → (B, C) logits."""
        pooled = tokens if self.pooling is None else self.pooling(tokens)
        logits: torch.Tensor = self.classifier(self.batch_norm(pooled))
        return logits


def build_probe(name: str, dim: int, num_classes: int) -> Probe:
    """The probe `name` for tokens of width `dim`. Raises `UserError` for an unknown or impossible one."""
    spec = probe_spec(name)
    pooling = spec.pooling(dim)
    width = dim if pooling is None else pooling.out_dim
    return Probe(spec.token_set, pooling, width, num_classes)

"""DELF: the mean of unit-length local features, each weighted by an attention score (arXiv 1612.06321).

    f_n = BN(W x_n + b)        s_n = softplus(w · ReLU(f_n) + c)
    y   = mean_n s_n f_n / ‖f_n‖

The EP paper's code names it "dolg", after the local branch of DOLG (arXiv 2108.02927). 1×1 convolutions are
linear maps of the tokens. With batch norm's scale and shift f_n is one too, applied to Σ_n (s_n / ‖f_n‖) x_n.

Shape suffixes: K trials, B images, N tokens, D channels.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from probe.poolings.description import Description
from probe.stacked import Linear
from probe.stacked.affine_batch_norm import AffineBatchNorm

NORM_EPS = 1e-12
"""The least length that a feature is divided by, as in `torch.nn.functional.normalize`."""


class DELFPooling(nn.Module):
    """Tokens (B, N, D) → (K, B, D). Parameters: D² + 4 D + 1.

    W starts as a normal of √(2/D) and w of √2, as the published code has it, biases as PyTorch's layers do.
    """

    description: ClassVar = Description(
        query="—",
        keys="BN(W x + b)",
        values="BN(W x + b), to unit length",
        attention="softplus(w · ReLU(key) + c): a score for each token, no softmax",
        output="mean over tokens",
        reference="DELF, arXiv 1612.06321; DOLG's local branch, arXiv 2108.02927, feymanpriv/DOLG",
    )

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.out_dim = dim
        self.features = Linear(dim, dim)
        self.batch_norm = AffineBatchNorm(dim)
        self.score = Linear(dim, 1)
        nn.init.normal_(self.features.weight, std=(2 / dim) ** 0.5)
        nn.init.normal_(self.score.weight, std=2**0.5)

    def attention(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """(B, N, D) → (K, B, 1, N): the score of each token, above 0; rows do not sum to 1."""
        features_KBND = self.features(tokens_BND.unsqueeze(0))
        return self._scores(self.batch_norm(features_KBND)).unsqueeze(2)

    def forward(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        features_KBND = self.features(tokens_BND.unsqueeze(0))
        scale, shift = self.batch_norm.scale_and_shift(features_KBND)
        normed_KBND = torch.addcmul(shift, features_KBND, scale)
        lengths = torch.linalg.vector_norm(normed_KBND, dim=-1).clamp_min(NORM_EPS)
        weights_KBN = self._scores(normed_KBND) / (lengths * tokens_BND.shape[1])
        pooled_KBD = (weights_KBN.transpose(0, 1) @ tokens_BND).transpose(0, 1)
        total_KB1 = weights_KBN.sum(dim=-1, keepdim=True)
        assert self.features.bias is not None
        mapped = torch.baddbmm(
            total_KB1 * self.features.bias.unsqueeze(1), pooled_KBD, self.features.weight.mT
        )
        found: torch.Tensor = mapped * scale.squeeze(2) + total_KB1 * shift.squeeze(2)
        return found

    def _scores(self, normed_KBND: torch.Tensor) -> torch.Tensor:
        """(K, B, N)."""
        found: torch.Tensor = F.softplus(self.score(F.relu(normed_KBND))).squeeze(-1)
        return found

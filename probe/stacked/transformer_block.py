"""The pre-norm transformer block, of each trial.

Each norm is folded into the linear map that follows it, W (w ∘ x̂ + b) = (W ∘ w) x̂ + W b: the first block of
all trials reads the same x̂, and no second copy of the normalised tokens is kept for the gradient.

Shape suffixes: K trials, B images, N tokens, D channels, H heads, E = D / H.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from probe.stacked.layer_norm import LayerNorm
from probe.stacked.linear import Linear
from probe.stacked.mlp import MLP


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)); tokens (K, B, N, D), or (1, B, N, D) for all trials.

    Parameters: 12 D² + 10 D, and 3 D more with `qkv_bias`.
    """

    def __init__(self, dim: int, heads: int, *, qkv_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = LayerNorm(dim)
        self.qkv = Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = Linear(dim, dim)
        self.norm2 = LayerNorm(dim)
        self.mlp = MLP(dim)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        mixed = self.mix(tokens)
        found: torch.Tensor = mixed + self.mlp.outer(self.hidden(mixed))
        return found

    def mix(self, tokens: torch.Tensor) -> torch.Tensor:
        """The first half: tokens + attention(norm(tokens)), (K, B, N, D)."""
        queries, keys, values = self._queries_keys_values(tokens)
        attended = F.scaled_dot_product_attention(queries, keys, values)
        found: torch.Tensor = tokens + self.proj(self._by_trial(attended).transpose(2, 3).flatten(3))
        return found

    def hidden(self, mixed: torch.Tensor) -> torch.Tensor:
        """The MLP's hidden layer of the norm of what `mix` gave, (K, B, N, 4·D)."""
        weight, bias = folded(self.norm2, self.mlp.inner)
        rows = self.norm2.normalised(mixed).flatten(1, 2)
        inner = torch.baddbmm(bias.unsqueeze(1), rows, weight.mT)
        return torch.unflatten(F.gelu(inner), 1, mixed.shape[1:3])

    def mean_attention(self, tokens: torch.Tensor) -> torch.Tensor:
        """(K, B, H, N): where each head looks, the mean over the tokens that ask."""
        queries, keys, _ = self._queries_keys_values(tokens)
        scores = (queries * queries.shape[-1] ** -0.5) @ keys.mT
        return self._by_trial(torch.softmax(scores, dim=-1).mean(dim=-2))

    def _queries_keys_values(self, tokens: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(B, K·H, N, E) each for tokens that all trials share, else (K·B, H, N, E).

        Four axes, as the fused attention kernels ask for; all are views of one product.
        """
        weight, bias = folded(self.norm1, self.qkv)
        normalised = self.norm1.normalised(tokens)
        if len(tokens) == 1:  # the trials' heads are heads of one attention
            weight = torch.unflatten(weight, 1, (3, -1)).transpose(0, 1).flatten(0, 2)
            bias = torch.unflatten(bias, 1, (3, -1)).transpose(0, 1).flatten()
            product = F.linear(normalised[0], weight, bias)
        else:
            rows = normalised.flatten(1, 2)
            product = torch.baddbmm(bias.unsqueeze(1), rows, weight.mT).view(
                -1, tokens.shape[2], len(bias[0])
            )
        width = tokens.shape[-1] // self.heads
        return torch.unflatten(product, -1, (3, -1, width)).permute(2, 0, 3, 1, 4).unbind()

    def _by_trial(self, values: torch.Tensor) -> torch.Tensor:
        """(B, K·H, …) or (K·B, H, …) → (K, B, H, …)."""
        trials = len(self.qkv.weight)
        if values.shape[1] == trials * self.heads:
            return torch.unflatten(values, 1, (trials, self.heads)).transpose(0, 1)
        return torch.unflatten(values, 0, (trials, -1))


def folded(norm: LayerNorm, linear: Linear) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (K, O, D) and bias (K, O) that map x̂ as `linear` maps `norm`'s output."""
    bias = (linear.weight @ norm.bias.unsqueeze(-1)).squeeze(-1)
    return linear.weight * norm.weight.unsqueeze(1), bias if linear.bias is None else bias + linear.bias

"""A whole transformer block on the tokens, then their mean: the EP paper's "ViT" (arXiv 2506.10178).

    a_hn = softmax_m((W_Q LN(x_n))_h · (W_K LN(x_m))_h / √E)        h = 1 … H, E = D / H
    z_n  = x_n + W_O [Σ_m a_hnm (W_V LN(x_m))_h]_h + b_O
    y    = mean_n (z_n + W_2 GELU(W_1 LN'(z_n) + b_1) + b_2)

W_2 is linear, so that it meets the mean of the hidden layer.

Shape suffixes: K trials, B images, N tokens, D channels.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from probe.poolings.description import Description
from probe.poolings.divisors import check_heads
from probe.stacked.transformer_block import TransformerBlock


class ViTPooling(nn.Module):
    """Tokens (B, N, D) → (K, B, D). Parameters: 12 D² + 10 D.

    All layers start as PyTorch's do. Raises `UserError` unless `heads` divides D.
    """

    description: ClassVar = Description(
        query="W_Q LN(x), every token",
        keys="W_K LN(x), without bias",
        values="W_V LN(x), without bias",
        attention="softmax over tokens in each head, scaled by 1/√(D/H)",
        output="linear, residual, MLP of the norm, residual; mean over tokens",
        reference="ViT, arXiv 2010.11929; DINOv2's block, facebookresearch/dinov2 dinov2/layers/block.py",
    )

    def __init__(self, dim: int, heads: int = 8) -> None:
        super().__init__()
        check_heads(heads, dim)
        self.out_dim = dim
        self.block = TransformerBlock(dim, heads, qkv_bias=False)

    def attention(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """(B, N, D) → (K, B, heads, N): the mean over the tokens that ask; rows sum to 1."""
        return self.block.mean_attention(tokens_BND.unsqueeze(0))

    def forward(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        mixed_KBND = self.block.mix(tokens_BND.unsqueeze(0))
        hidden = self.block.hidden(mixed_KBND).mean(dim=2)
        found: torch.Tensor = mixed_KBND.mean(dim=2) + self.block.mlp.outer(hidden)
        return found

"""CBAM: a gate for each channel, one for each place, a residual, ReLU and the mean (arXiv 1807.06521).

    g   = σ(W_2 ReLU(W_1 mean_n x_n) + W_2 ReLU(W_1 max_n x_n))
    s   = σ(BN(conv 7×7 of [mean_d (x_nd g_d), max_d (x_nd g_d)]))        over the grid's rows and columns
    y_d = mean_n ReLU(x_nd g_d s_n + x_nd)

g and s are positive, so that ReLU(x_nd g_d s_n + x_nd) = r_nd (g_d s_n + 1) with r = ReLU(x), which all
trials share: y = g ∘ mean_n(s_n r_n) + mean_n r_n. The gated tokens x_nd g_d are made once, to find the
highest channel of each token, and not kept.

Shape suffixes: K trials, B images, N tokens, D channels.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from configs import UserError
from probe.poolings.description import Description
from probe.stacked import Linear
from probe.stacked.affine_batch_norm import AffineBatchNorm

REDUCTION = 16
KERNEL_SIZE = 7


class CBAMPooling(nn.Module):
    """Tokens (B, N, D) of a grid → (K, B, D). Parameters: 2 D·(D/16) + 2·7·7 + 2.

    All layers start as PyTorch's do. Raises `UserError` where the tokens are not rows and columns alone.
    """

    description: ClassVar = Description(
        query="—",
        keys="mean and maximum of the channels",
        values="ReLU(x)",
        attention="sigmoid of a normed 7×7 convolution over the grid: a gate, no softmax",
        output="a gate for each channel, residual, mean over tokens",
        reference="CBAM, arXiv 1807.06521; timm's CbamModule",
    )

    def __init__(self, dim: int, grid: tuple[int, ...], *, cls: bool) -> None:
        super().__init__()
        if cls:
            raise UserError(
                "cbam convolves the grid of the patches, where [CLS] has no place: leave +cls out"
            )
        if len(grid) != 2:
            shown = "×".join(map(str, grid))
            raise UserError(
                f"cbam convolves rows and columns, and the token grid is {shown}: use another probe"
            )
        self.grid = grid
        self.out_dim = dim
        # as published: rounded, halves up
        reduced = max(1, math.floor(dim / REDUCTION + 0.5))
        self.squeeze = Linear(dim, reduced, bias=False)
        self.excite = Linear(reduced, dim, bias=False)
        kernel = torch.empty(1, 2, KERNEL_SIZE, KERNEL_SIZE)
        nn.init.kaiming_uniform_(kernel, a=math.sqrt(5))
        self.kernel = nn.Parameter(kernel.unsqueeze(0))
        self.batch_norm = AffineBatchNorm(1)

    def attention(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """(B, N, D) → (K, B, 1, N): the gate of each token between 0 and 1; rows do not sum to 1."""
        return self._token_gate(tokens_BND, self._channel_gate(tokens_BND)).unsqueeze(2)

    def forward(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        channel_gate_KBD = self._channel_gate(tokens_BND)
        token_gate_KBN = self._token_gate(tokens_BND, channel_gate_KBD)
        positive_BND = F.relu(tokens_BND)
        gated = token_gate_KBN.transpose(0, 1) @ positive_BND / tokens_BND.shape[1]
        return channel_gate_KBD * gated.transpose(0, 1) + positive_BND.mean(dim=1)

    def _channel_gate(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """(K, B, D)."""
        pooled = torch.stack([tokens_BND.mean(dim=1), tokens_BND.amax(dim=1)])
        # without biases, the sum of the two results is the result of the sum
        return torch.sigmoid(self.excite(F.relu(self.squeeze(pooled.unsqueeze(0))).sum(dim=1)))

    def _token_gate(self, tokens_BND: torch.Tensor, channel_gate_KBD: torch.Tensor) -> torch.Tensor:
        """(K, B, N)."""
        mean = (channel_gate_KBD.transpose(0, 1) @ tokens_BND.mT).transpose(0, 1) / self.out_dim
        planes_KBCN = torch.stack([mean, _highest(tokens_BND, channel_gate_KBD)], dim=2)
        trials, images = mean.shape[:2]
        planes = planes_KBCN.transpose(0, 1).reshape(images, 2 * trials, *self.grid)
        found = F.conv2d(planes, self.kernel.flatten(0, 1), padding="same", groups=trials)
        scores_KBN = found.flatten(2).transpose(0, 1)
        return torch.sigmoid(self.batch_norm(scores_KBN.unsqueeze(-1)).squeeze(-1))


def _highest(tokens_BND: torch.Tensor, gate_KBD: torch.Tensor) -> torch.Tensor:
    """max_d (x_nd g_d), (K, B, N). Of channels equally high, the first gets the gradient."""
    with torch.no_grad():
        channel_KBN = (tokens_BND * gate_KBD.unsqueeze(2)).argmax(dim=-1)
    tokens = tokens_BND.expand(len(gate_KBD), -1, -1, -1).gather(-1, channel_KBN.unsqueeze(-1)).squeeze(-1)
    return tokens * gate_KBD.gather(-1, channel_KBN)

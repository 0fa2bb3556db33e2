"""The encoder of Stable Diffusion's VAE (Rombach et al., arXiv 2112.10752): images to mean latents.

Modules have the names of diffusers, whose files it loads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

WIDTHS = (128, 256, 512, 512)
SCALE = 0.18215
"""What latent diffusion multiplies latents by, for a standard deviation near 1."""


class LatentEncoder(nn.Module):
    """(B, 3, H, W) in [−1, 1] → (B, 4, H / 8, W / 8): the mean of the posterior, scaled."""

    REDUCTION = 8

    def __init__(self) -> None:
        super().__init__()
        self.encoder = _Encoder()
        self.quant_conv = nn.Conv2d(8, 8, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        moments = self.quant_conv(self.encoder(images))
        mean: torch.Tensor = moments.chunk(2, dim=1)[0]  # the other half is the logarithm of the variance
        return SCALE * mean


class _Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        inputs = (WIDTHS[0], *WIDTHS)
        self.conv_in = nn.Conv2d(3, WIDTHS[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            _DownBlock(inputs[i], width, downsample=i < len(WIDTHS) - 1) for i, width in enumerate(WIDTHS)
        )
        self.mid_block = _MidBlock(WIDTHS[-1])
        self.conv_norm_out = _group_norm(WIDTHS[-1])
        self.conv_out = nn.Conv2d(WIDTHS[-1], 8, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        result: torch.Tensor = self.conv_out(F.silu(self.conv_norm_out(self.mid_block(x))))
        return result


class _DownBlock(nn.Module):
    def __init__(self, width_in: int, width: int, *, downsample: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList([_ResNet(width_in, width), _ResNet(width, width)])
        self.downsamplers = nn.ModuleList([_Downsampler(width)] if downsample else [])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for module in (*self.resnets, *self.downsamplers):
            x = module(x)
        return x


class _Downsampler(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))  # right and bottom only
        return result


class _MidBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList([_ResNet(width, width), _ResNet(width, width)])
        self.attentions = nn.ModuleList([_Attention(width)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for module in (self.resnets[0], self.attentions[0], self.resnets[1]):
            x = module(x)
        return x


class _ResNet(nn.Module):
    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.norm1 = _group_norm(width_in)
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1)
        self.norm2 = _group_norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.conv_shortcut = nn.Identity() if width_in == width else nn.Conv2d(width_in, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.conv1(F.silu(self.norm1(x)))
        result: torch.Tensor = self.conv_shortcut(x) + self.conv2(F.silu(self.norm2(hidden)))
        return result


class _Attention(nn.Module):
    """One head over all positions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.group_norm = _group_norm(width)
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.group_norm(x).flatten(2).mT
        q, k, v = self.to_q(tokens), self.to_k(tokens), self.to_v(tokens)
        attended = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        result: torch.Tensor = x + self.to_out[0](attended).mT.reshape(x.shape)
        return result


def _group_norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, width, eps=1e-6)

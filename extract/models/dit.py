"""DiT (Peebles & Xie, arXiv 2212.09748) read as an encoder: latents of an image, tokens of its blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from extract.models.latents import LatentEncoder
from extract.models.token_model import HALF, TokenModel

EPS = 1e-6
LATENT_CHANNELS = 4
CLASSES = 1000
NO_CLASS = CLASSES
"""The row of the class table that stands for none, in classifier-free guidance."""
TIME_CHANNELS = 256
STEPS = 1000


def dit_xl2(
    *,
    dim: int = 1152,
    depth: int = 28,
    num_heads: int = 16,
    latent_size: int = 32,
    timestep: int | None = None,
    label: int = NO_CLASS,
    noise_seed: int | None = None,
) -> Dit:
    """DiT-XL/2 on images of 8 pixels for each latent.

    Without a `timestep` its conditioning vector is zero. With one, it is that of the step and of the class
    `label`; `noise_seed` adds the step's noise to the latents, the same to those of every image.
    """
    return Dit(dim, depth, num_heads, latent_size, timestep, label, noise_seed)


class Dit(TokenModel):
    """Latents in patches of 2 × 2 through blocks modulated by a conditioning vector; no final norm."""

    pos_embed: torch.Tensor

    def __init__(
        self,
        dim: int,
        depth: int,
        num_heads: int,
        latent_size: int,
        timestep: int | None,
        label: int,
        noise_seed: int | None,
    ) -> None:
        side = latent_size * LatentEncoder.REDUCTION
        super().__init__(depth, {"input_size": (3, side, side), "crop_pct": 1.0, **HALF})
        self.timestep, self.label, self.noise_seed = timestep, label, noise_seed
        self.vae = LatentEncoder()
        self.x_embedder = nn.Conv2d(LATENT_CHANNELS, dim, 2, stride=2)
        self.pos_embed = nn.Parameter(torch.zeros(1, (latent_size // 2) ** 2, dim))
        self._noise = torch.empty(0)  # no buffer: the hash of the weights holds all of these
        if noise_seed is not None:
            shape = LATENT_CHANNELS, latent_size, latent_size
            generator = torch.Generator().manual_seed(noise_seed)  # on the host: the same on every device
            self._noise = torch.randn(shape, generator=generator, device="cpu")
        self.t_embedder = nn.Sequential(nn.Linear(TIME_CHANNELS, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.y_embedder = nn.Embedding(CLASSES + 1, dim)
        self.blocks = nn.ModuleList(_Block(dim, num_heads) for _ in range(depth))

    def block_states(self, images: torch.Tensor, blocks: Sequence[int]) -> list[torch.Tensor]:
        return self.latent_states(self._noised(self.vae(images)), blocks)

    def latent_states(self, latents: torch.Tensor, blocks: Sequence[int]) -> list[torch.Tensor]:
        """Tokens after each of `blocks` for latents (B, 4, h, w)."""
        x = self.x_embedder(latents).flatten(2).mT + self.pos_embed
        condition = self._condition(latents)
        states = []
        for number, block in enumerate(self.blocks[: max(blocks) + 1]):
            x = block(x, condition)
            if number in blocks:
                states.append(x)
        return states

    def _condition(self, latents: torch.Tensor) -> torch.Tensor:
        """(1, D): the same for every image."""
        if self.timestep is None:
            return latents.new_zeros(1, self.pos_embed.shape[-1])
        half = TIME_CHANNELS // 2
        powers = torch.arange(half, device=latents.device, dtype=torch.float32) / half
        angles = self.timestep * torch.exp(-math.log(10000) * powers)
        step = self.t_embedder(torch.cat([angles.cos(), angles.sin()])[None])
        result: torch.Tensor = step + self.y_embedder.weight[self.label]
        return result

    def _noised(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents as training sees them at the step: sqrt(ā) z + sqrt(1 − ā) ε."""
        if self.noise_seed is None or self.timestep is None:
            return latents
        kept = torch.cumprod(1 - torch.linspace(1e-4, 0.02, STEPS, dtype=torch.float64), dim=0)
        share = float(kept[self.timestep])
        self._noise = self._noise.to(latents.device)  # copied once
        return math.sqrt(share) * latents + math.sqrt(1 - share) * self._noise


class _Block(nn.Module):
    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.head_dim = dim // num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)
        self.modulation = nn.Linear(dim, 6 * dim)

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """(B, N, D), (1, D) → (B, N, D)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(F.silu(condition)).chunk(6, dim=1)
        x = x + gate1 * self._attention(_norm(x) * (1 + scale1) + shift1)
        hidden = F.gelu(self.fc1(_norm(x) * (1 + scale2) + shift2), approximate="tanh")
        result: torch.Tensor = x + gate2 * self.fc2(hidden)
        return result

    def _attention(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, -1, self.head_dim)).permute(2, 0, 3, 1, 4)
        result: torch.Tensor = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return result


def _norm(x: torch.Tensor) -> torch.Tensor:
    """LayerNorm without parameters."""
    return F.layer_norm(x, x.shape[-1:], eps=EPS)

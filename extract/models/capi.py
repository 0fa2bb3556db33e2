"""CAPI's encoder (Darcet et al., arXiv 2502.08769): registers, rotary positions, RMSNorm, no [CLS]."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from extract.models.token_model import IMAGENET, TokenModel

EPS = 1e-5


def capi_vitl14(
    *, dim: int = 1024, depth: int = 24, num_heads: int = 16, registers: int = 16, image_size: int = 224
) -> Capi:
    """ViT-L/14."""
    return Capi(dim, depth, num_heads, registers, image_size)


class Capi(TokenModel):
    """Patches of 14 pixels and registers through `depth` blocks; a final RMSNorm without weight."""

    def __init__(self, dim: int, depth: int, num_heads: int, registers: int, image_size: int) -> None:
        transform = {"input_size": (3, image_size, image_size), "crop_pct": 0.875, **IMAGENET}
        super().__init__(depth, transform)
        self.prefix_roles = ("register",) * registers
        self.patch_embed = nn.Conv2d(3, dim, 14, stride=14)
        self.registers = nn.Parameter(torch.randn(1, registers, dim) * 0.02)
        self.mask_token = nn.Parameter(torch.randn(1, dim) * 0.02)
        self.blocks = nn.ModuleList(_Block(dim, num_heads) for _ in range(depth))
        self.norm = nn.RMSNorm(dim, eps=EPS, elementwise_affine=False)
        # the decoder's first block: mask tokens that look at the encoder's tokens
        self.decoder = nn.ModuleDict({"blocks": nn.ModuleList([_Block(dim, num_heads)])})

    def block_states(self, images: torch.Tensor, blocks: Sequence[int]) -> list[torch.Tensor]:
        maps = self.patch_embed(images)
        x = torch.cat([self.registers.expand(len(images), -1, -1), maps.flatten(2).mT], dim=1)
        coordinates = self._coordinates(maps)
        states = []
        for number, block in enumerate(self.blocks[: max(blocks) + 1]):
            x = block(x, coordinates)
            if number in blocks:
                states.append(x)
        return states

    def global_representation(self, images: torch.Tensor) -> torch.Tensor:
        """(B, D): mean of the decoder's first block over all positions; published linear probes read it."""
        maps = self.patch_embed(images)
        coordinates = self._coordinates(maps)
        patches = coordinates[len(self.prefix_roles) :]
        queries = self.mask_token.expand(len(images), len(patches), -1)
        (block,) = self.decoder["blocks"].children()
        decoded = block(queries, patches, self.forward_features(images), coordinates)
        return F.rms_norm(decoded, decoded.shape[-1:], eps=EPS).mean(dim=1)

    def _coordinates(self, maps: torch.Tensor) -> torch.Tensor:
        """(R + N, 2) row and column in [0, 1]: registers walk the border, patches fill the inside."""
        side = len(self.prefix_roles) // 4
        c = torch.arange(side, device=maps.device) / side
        zero, one = torch.zeros_like(c), torch.ones_like(c)
        border = [(c, zero), (one, c), (1 - c, one), (zero, 1 - c)]
        rows, columns = (torch.linspace(0, 1, length, device=maps.device) for length in maps.shape[2:])
        patches = torch.cartesian_prod(rows, columns)
        return torch.cat([torch.stack(side, dim=1) for side in border] + [patches])


class _Block(nn.Module):
    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.RMSNorm(dim, eps=EPS)
        self.attn = _Attention(dim, num_heads)
        self.norm2 = nn.RMSNorm(dim, eps=EPS)
        self.mlp = _Mlp(dim)

    def forward(
        self,
        x: torch.Tensor,
        coordinates: torch.Tensor,
        context: torch.Tensor | None = None,
        context_coordinates: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(B, n, D) → (B, n, D); without `context`, x attends to itself."""
        normed = self.norm1(x)
        x = x + self.attn(
            normed,
            coordinates,
            normed if context is None else context,
            coordinates if context_coordinates is None else context_coordinates,
        )
        result: torch.Tensor = x + self.mlp(self.norm2(x))
        return result


class _Attention(nn.Module):
    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.head_dim = dim // num_heads
        self.q_proj = nn.Linear(dim, dim, bias=False)
        self.k_proj = nn.Linear(dim, dim, bias=False)
        self.v_proj = nn.Linear(dim, dim, bias=False)
        self.proj = nn.Linear(dim, dim, bias=False)
        self.rope = _Rope(self.head_dim)

    def forward(
        self, x: torch.Tensor, coordinates: torch.Tensor, context: torch.Tensor, around: torch.Tensor
    ) -> torch.Tensor:
        q = self.rope(self._heads(self.q_proj(x)), coordinates)
        k = self.rope(self._heads(self.k_proj(context)), around)
        v = self._heads(self.v_proj(context))
        # under autocast the rotation gives float32, the values do not
        attended = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v)
        result: torch.Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return result

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        """(B, n, D) → (B, H, n, D / H)."""
        heads: torch.Tensor = x.unflatten(2, (-1, self.head_dim)).transpose(1, 2)
        return heads


class _Rope(nn.Module):
    """CAPI's rotary positions. No true rotation: the two channels of a pair turn by different angles."""

    freqs: torch.Tensor

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        frequencies = 7.0 * (7.0 / 7e-4) ** torch.linspace(0, -1, head_dim // 4)
        one_axis = torch.cat([frequencies, frequencies])
        nothing = torch.zeros_like(one_axis)
        rows = [torch.cat([one_axis, nothing]), torch.cat([nothing, one_axis])]
        self.register_buffer("freqs", 2 * math.pi * torch.stack(rows))

    def forward(self, x: torch.Tensor, coordinates: torch.Tensor) -> torch.Tensor:
        """x (B, H, n, d) at coordinates (n, 2)."""
        # no matrix product: autocast would take it in bfloat16, too coarse for angles
        angle = (coordinates[:, :, None] * self.freqs).sum(1)
        first, second = x.chunk(2, dim=-1)
        rotated: torch.Tensor = x * angle.cos() + torch.cat([-second, first], dim=-1) * angle.sin()
        return rotated


class _Mlp(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim, bias=False)
        self.fc2 = nn.Linear(4 * dim, dim, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.fc2(F.gelu(self.fc1(x)))
        return result

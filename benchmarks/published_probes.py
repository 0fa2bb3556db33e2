"""Every probe as it was published, written plainly: keys and values of all tokens, one trial.

Parameters are named as ours are, so that weights are copied by name; the K of a name's suffix, the trial, is
an axis that is not there. Heads attend by PyTorch's `scaled_dot_product_attention`, which is faster than the
softmax that most of the published code spells out.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

BATCH_NORM_EPS = 1e-6
PATCHES = 196
"""CoCa's number of queries."""


class PublishedProbe(nn.Module):
    """Tokens (B, N, D) → pooling → batch norm → linear classifier → logits (B, C)."""

    def __init__(self, pooling: nn.Module, width: int, num_classes: int) -> None:
        super().__init__()
        self.pooling = pooling
        self.batch_norm = nn.BatchNorm1d(width, BATCH_NORM_EPS, affine=False)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """One trial's logits."""
        logits: torch.Tensor = self.classifier(self.batch_norm(self.pooling(tokens)))
        return logits


def noise(*shape: int) -> nn.Parameter:
    """A parameter; its values are copied over or do not matter."""
    return nn.Parameter(0.02 * torch.randn(shape))


def attend(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, heads: int) -> torch.Tensor:
    """Multi-head attention: (B, M, O), (B, N, O), (B, N, O) → (B, M, O)."""
    split = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (queries, keys, values))
    return F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)


def for_each(query: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """The learned query (M, D) for each image: (B, M, D)."""
    return query.expand(len(tokens), -1, -1)


class MeanToken(nn.Module):
    """The mean of all tokens."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens.mean(dim=1)


class PlainAttention(nn.Module):
    """What a user would take first: `nn.MultiheadAttention` of one learned query."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.query = noise(1, dim)
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor
        pooled, _ = self.attention(for_each(self.query, tokens), tokens, tokens, need_weights=False)
        return pooled.squeeze(1)


class EfficientProbing(nn.Module):
    """M queries on raw tokens; query j pools the chunk j of the values."""

    def __init__(self, dim: int, queries: int = 32) -> None:
        super().__init__()
        self.queries_KMD = noise(queries, dim)
        self.values = nn.Linear(dim, dim, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        count, dim = self.queries_KMD.shape
        values: torch.Tensor = self.values(tokens).unflatten(-1, (count, -1)).transpose(1, 2)
        queries = for_each(self.queries_KMD * dim**-0.5, tokens)
        weights = torch.softmax(queries @ tokens.mT, dim=-1)
        return (weights.unsqueeze(2) @ values).flatten(1)


class MultiHead(nn.Module):
    """One learned vector; query, keys and values without bias."""

    def __init__(self, dim: int, heads: int = 8) -> None:
        super().__init__()
        self.heads = heads
        self.input_K1D = noise(1, dim)
        self.query, self.keys, self.values = (nn.Linear(dim, dim, bias=False) for _ in range(3))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        query = self.query(for_each(self.input_K1D, tokens))
        return attend(query, self.keys(tokens), self.values(tokens), self.heads).squeeze(1)


class AIM(nn.Module):
    """A batch norm of the tokens, a learned query of 16 heads."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query_K1D = noise(1, dim)
        self.norm = nn.BatchNorm1d(dim, BATCH_NORM_EPS, affine=False)
        self.keys, self.values = (nn.Linear(dim, dim, bias=False) for _ in range(2))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        normed = self.norm(tokens.mT).mT
        query = for_each(self.query_K1D, tokens)
        return attend(query, self.keys(normed), self.values(normed), heads=16).squeeze(1)


class MLP(nn.Module):
    """Linear → GELU → Linear through 4 D channels."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.outer(F.gelu(self.inner(values)))
        return found


class CrossAttention(nn.Module):
    """Query, keys and values, and the output projection, all with bias."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.keys_values = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        self.output = nn.Linear(dim, dim)

    def forward(self, query: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        keys, values = self.keys_values(tokens).chunk(2, dim=-1)
        found: torch.Tensor = self.output(attend(self.query(query), keys, values, self.heads))
        return found


class VJEPA(nn.Module):
    """A pre-norm block of one query that attends to the normed tokens in 16 heads."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query_K1D = noise(1, dim)
        self.token_norm, self.mlp_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.cross_attention, self.mlp = CrossAttention(dim, heads=16), MLP(dim)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        query = for_each(self.query_K1D, tokens)
        attended = query + self.cross_attention(query, self.token_norm(tokens))
        found: torch.Tensor = attended + self.mlp(self.mlp_norm(attended))
        return found.squeeze(1)


class TransformerBlock(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, dim: int, heads: int, *, qkv_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim, bias=qkv_bias), nn.Linear(dim, dim)
        self.mlp = MLP(dim)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        queries, keys, values = self.qkv(self.norm1(tokens)).chunk(3, dim=-1)
        mixed = tokens + self.proj(attend(queries, keys, values, self.heads))
        found: torch.Tensor = mixed + self.mlp(self.norm2(mixed))
        return found


class VJEPA2(nn.Module):
    """Three transformer blocks, then a block of one query without an output projection; 16 heads."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(TransformerBlock(dim, 16, qkv_bias=True) for _ in range(3)))
        self.query_K1D = noise(1, dim)
        self.token_norm, self.norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query, self.keys_values = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        self.mlp = MLP(dim)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        query = for_each(self.query_K1D, tokens)
        keys, values = self.keys_values(self.token_norm(self.blocks(tokens))).chunk(2, dim=-1)
        attended = query + attend(self.query(query), keys, values, heads=16)
        found: torch.Tensor = attended + self.mlp(self.norm(attended))
        return found.squeeze(1)


class SimPool(nn.Module):
    """The mean token asks the normed tokens, in one head."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.query, self.keys = (nn.Linear(dim, dim, bias=False) for _ in range(2))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        normed = self.norm(tokens)
        query = self.query(tokens.mean(dim=1, keepdim=True))
        return attend(query, self.keys(normed), normed, heads=1).squeeze(1)


class ESimPool(nn.Module):
    """The normed mean token asks the normed tokens, in 12 heads; values are the tokens."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        query = self.norm(tokens.mean(dim=1, keepdim=True))
        return attend(query, self.norm(tokens), tokens, heads=12).squeeze(1)


class CAE(nn.Module):
    """Norms of query, keys and values, 8 heads, an output projection; a norm that is never used."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query_K1D = noise(1, dim)
        self.query_norm, self.key_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.value_norm, self.unused_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query, self.keys, self.values = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        self.output = nn.Linear(dim, dim)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        query = self.query(self.query_norm(for_each(self.query_K1D, tokens)))
        keys, values = self.keys(self.key_norm(tokens)), self.values(self.value_norm(tokens))
        found: torch.Tensor = self.output(attend(query, keys, values, heads=8)).squeeze(1)
        return found


class CAPI(nn.Module):
    """A learned query in heads of 64 channels, keys and values with bias."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query_KD = noise(dim)
        self.keys_values = nn.Linear(dim, 2 * dim)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        keys, values = self.keys_values(tokens).chunk(2, dim=-1)
        query = for_each(self.query_KD.unsqueeze(0), tokens)
        return attend(query, keys, values, heads=tokens.shape[-1] // 64).squeeze(1)


class CLIP(nn.Module):
    """Self-attention of the mean token and all tokens in 4 heads, under learned positions; output 0."""

    def __init__(self, dim: int, num_tokens: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.positions_KND = noise(num_tokens + 1, dim)
        self.qkv, self.output = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        normed = self.norm(tokens)
        positioned = torch.cat([normed.mean(dim=1, keepdim=True), normed], dim=1) + self.positions_KND
        queries, keys, values = self.qkv(positioned).chunk(3, dim=-1)
        every: torch.Tensor = self.output(attend(queries, keys, values, heads=4))
        return every[:, 0]


class SigLIP(nn.Module):
    """One latent, 8 heads, then a residual MLP without a norm."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.latent_K1D = noise(1, dim)
        self.cross_attention, self.mlp = CrossAttention(dim, heads=8), MLP(dim)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        attended = self.cross_attention(for_each(self.latent_K1D, tokens), tokens)
        found: torch.Tensor = (attended + self.mlp(attended)).squeeze(1)
        return found


class CoCa(nn.Module):
    """196 queries of 8 heads, whose keys and values are one head of 64 channels; output 0."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.queries_KMD, self.norm_weight_KD = noise(PATCHES, dim), noise(dim)
        self.query = nn.Linear(dim, 8 * 64, bias=False)
        self.keys_values = nn.Linear(dim, 2 * 64, bias=False)
        self.output = nn.Linear(8 * 64, dim, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        normed = F.layer_norm(for_each(self.queries_KMD, tokens), tokens.shape[-1:], self.norm_weight_KD)
        queries = self.query(normed).unflatten(-1, (8, 64)).flatten(1, 2)  # of all heads in a row
        keys, values = self.keys_values(tokens).chunk(2, dim=-1)
        attended = attend(queries, keys, values, heads=1).unflatten(1, (PATCHES, 8)).flatten(2)
        every: torch.Tensor = self.output(attended)
        return every[:, 0]


class CaiT(nn.Module):
    """Class attention in 4 heads, LayerScale, MLP, LayerScale, norm."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.class_token_K1D = noise(1, dim)
        self.attention_scale_KD, self.mlp_scale_KD = noise(dim), noise(dim)
        self.attention_norm, self.mlp_norm = (nn.LayerNorm(dim, eps=1e-6) for _ in range(2))
        self.output_norm = nn.LayerNorm(dim)
        self.query, self.keys, self.values, self.output = (nn.Linear(dim, dim) for _ in range(4))
        self.mlp = MLP(dim)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        class_tokens = for_each(self.class_token_K1D, tokens)
        normed = self.attention_norm(torch.cat([class_tokens, tokens], dim=1))
        attended = attend(self.query(normed[:, :1]), self.keys(normed), self.values(normed), heads=4)
        found = class_tokens + self.attention_scale_KD * self.output(attended)
        found = found + self.mlp_scale_KD * self.mlp(self.mlp_norm(found))
        normed_class: torch.Tensor = self.output_norm(found).squeeze(1)
        return normed_class


class ViT(nn.Module):
    """A transformer block of 8 heads on all tokens, then their mean."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.block = TransformerBlock(dim, heads=8, qkv_bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.block(tokens).mean(dim=1)
        return found


class AbMILP(nn.Module):
    """Self-attention of one head, then the tokens' weighted sum, by a score of two layers."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)
        self.hidden, self.score = nn.Linear(dim, dim), nn.Linear(dim, 1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        queries, keys, values = self.qkv(tokens).chunk(3, dim=-1)
        attended: torch.Tensor = self.proj(attend(queries, keys, values, heads=1))
        weights = torch.softmax(self.score(torch.tanh(self.hidden(attended))), dim=1)
        return (weights.mT @ attended).squeeze(1)


class LinearAbMILP(nn.Module):
    """The tokens' weighted sum, by a linear score."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.score = nn.Linear(dim, 1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        weights = torch.softmax(self.score(tokens), dim=1)
        return (weights.mT @ tokens).squeeze(1)


class CBAM(nn.Module):
    """The gates of channels and of places, one after the other, on the map; residual, ReLU, mean."""

    def __init__(self, dim: int, grid: tuple[int, ...]) -> None:
        super().__init__()
        self.grid = grid
        self.squeeze = nn.Conv2d(dim, dim // 16, 1, bias=False)
        self.excite = nn.Conv2d(dim // 16, dim, 1, bias=False)
        self.kernel = noise(1, 2, 7, 7)
        self.batch_norm = nn.BatchNorm2d(1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        image = tokens.mT.unflatten(-1, self.grid)
        pooled = (image.mean(dim=(2, 3), keepdim=True), image.amax(dim=(2, 3), keepdim=True))
        mean, highest = (self.excite(F.relu(self.squeeze(part))) for part in pooled)
        gated = image * torch.sigmoid(mean + highest)
        planes = torch.cat([gated.mean(dim=1, keepdim=True), gated.amax(dim=1, keepdim=True)], dim=1)
        gate = torch.sigmoid(self.batch_norm(F.conv2d(planes, self.kernel, padding=3)))
        return F.relu(gated * gate + image).mean(dim=(2, 3))


class DELF(nn.Module):
    """1×1 convolutions of the map, unit features times their score, mean."""

    def __init__(self, dim: int, grid: tuple[int, ...]) -> None:
        super().__init__()
        self.grid = grid
        self.features, self.score = nn.Conv2d(dim, dim, 1), nn.Conv2d(dim, 1, 1)
        self.batch_norm = nn.BatchNorm2d(dim)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        features = self.batch_norm(self.features(tokens.mT.unflatten(-1, self.grid)))
        scores = F.softplus(self.score(F.relu(features)))
        return (F.normalize(features, dim=1) * scores).mean(dim=(2, 3))


PUBLISHED: dict[str, Callable[[int, tuple[int, ...]], nn.Module]] = {
    "lp": lambda dim, grid: nn.Identity(),
    "lp_mean": lambda dim, grid: MeanToken(),
    "ep32": lambda dim, grid: EfficientProbing(dim),
    "mhca8": lambda dim, grid: MultiHead(dim),
    "aim": lambda dim, grid: AIM(dim),
    "vjepa": lambda dim, grid: VJEPA(dim),
    "vjepa2": lambda dim, grid: VJEPA2(dim),
    "simpool": lambda dim, grid: SimPool(dim),
    "esimpool": lambda dim, grid: ESimPool(dim),
    "cae": lambda dim, grid: CAE(dim),
    "capi": lambda dim, grid: CAPI(dim),
    "clip": lambda dim, grid: CLIP(dim, torch.Size(grid).numel()),
    "siglip": lambda dim, grid: SigLIP(dim),
    "coca": lambda dim, grid: CoCa(dim),
    "cait": lambda dim, grid: CaiT(dim),
    "vit": lambda dim, grid: ViT(dim),
    "abmilp": lambda dim, grid: AbMILP(dim),
    "abmilp_linear": lambda dim, grid: LinearAbMILP(dim),
    "cbam": CBAM,
    "delf": DELF,
}
"""By the probe's name: the pooling for tokens of width D on a grid. Linear on [CLS] has none."""

PLAIN_HEADS = {"ep32": 32, "mhca8": 8}
"""Probes in whose place a user might take `nn.MultiheadAttention`, and its heads."""


def published_probe(name: str, dim: int, num_classes: int, grid: tuple[int, ...]) -> PublishedProbe:
    """The published form of the probe `name`."""
    return PublishedProbe(PUBLISHED[name](dim, grid), dim, num_classes)


def plain_attention_probe(name: str, dim: int, num_classes: int) -> PublishedProbe:
    """`nn.MultiheadAttention` in the place of the probe `name`."""
    return PublishedProbe(PlainAttention(dim, PLAIN_HEADS[name]), dim, num_classes)


@torch.no_grad()
def copy_weights(ours: nn.Module, published: nn.Module) -> None:
    """Give `published` the weights of the first trial of `ours`, by name."""
    weights = {name: parameter[0] for name, parameter in ours.named_parameters()}
    for name, parameter in published.named_parameters():
        parameter.copy_(weights.pop(name).view_as(parameter))
    assert not weights, f"not in the published form: {', '.join(weights)}"

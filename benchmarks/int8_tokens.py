"""Tokens of the bundled backbone on digits, as they are and with outliers planted.

Planted outliers. Large ViTs have a handful of channels with values of some hundreds where a typical |x| is
about 1, nearly the same for every image (Sun et al. 2024, arXiv 2402.17762: above 100, and a thousand times
the median), and about 2 % of patch tokens with ten times the others' norm (Darcet et al. 2024, arXiv
2309.16588). The bundled ViT has neither. So four channels, spread evenly over the width, get a constant
added, of alternating sign: `magnitude` standard deviations of all tokens, with 3 % of jitter from token to
token; and 2 % of the patches are multiplied by ten. What the network computed stays in the tokens, beneath
the outliers. The channels are planted in every token, the worst case, or, `few`, in [CLS] and those 2 %
alone, as the paper describes them. Tokens `post` the final norm come from a norm whose weight makes up for
the plant, as a trained network's does: it divides the outliers by their magnitude and restores the others.
k-NN of the outliers `pre` says little, in float32 too: a cosine sees the planted constants and nothing else.

The wide tokens are those of all six blocks side by side (D = 576), channels shuffled, every second row and
column of the grid: nine groups of 64, four of them hit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache as memoized

import torch

from cache import FinalNorm, TokenBatch, seeded_permutation
from configs import TokenState
from extract import open_backbone
from extract.images import to_rgb
from extract.sources import open_dataset
from extract.transform import image_transform
from probe import TokenInputs

OUTLIERS, JITTER, ARTIFACTS, ARTIFACT_NORM = 4, 0.03, 0.02, 10
BATCH = 256


@dataclass(frozen=True)
class Tokens:
    """Images of one split: patches (n, N, D), prefix (n, 1, D), labels (n,)."""

    patches: torch.Tensor
    prefix: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, images: torch.Tensor) -> TokenBatch:
        """The `images` (positions), as a store would give them."""
        return TokenBatch(
            self.labels[images], images, patches=self.patches[images], prefix=self.prefix[images]
        )


Splits = dict[str, Tokens]


@dataclass(frozen=True)
class Condition:
    """What is stored, and how it is read. Without `long`, EP is trained on the 360 images alone."""

    name: str
    magnitude: float = 0
    few: bool = False
    wide: bool = False
    state: TokenState = "pre"
    long: bool = False


CONDITIONS = (
    Condition("bundled", long=True),
    Condition("outliers 30 ×", 30),
    Condition("outliers 300 ×", 300, long=True),
    Condition("outliers 300 ×, post", 300, state="post"),
    Condition("outliers 300 ×, few", 300, few=True),
    Condition("outliers 300 ×, wide", 300, wide=True),
)


@memoized
def computed_tokens() -> tuple[FinalNorm, dict[str, list[Tokens]]]:
    """The bundled backbone's final norm, and each split's tokens after each of its blocks."""
    backbone = open_backbone("mae_digits")
    transform = image_transform(backbone.transform)
    dataset = open_dataset("digits")
    blocks = range(len(backbone.blocks))
    found = {}
    for split in ("train", "test"):
        source = dataset.open(split)
        images = [torch.from_numpy(transform(to_rgb(source.load(i)))) for i in range(len(source))]
        parts = [backbone(torch.stack(images[i : i + BATCH]), blocks) for i in range(0, len(images), BATCH)]
        labels = torch.as_tensor(source.labels)
        found[split] = [
            Tokens(
                torch.cat([part[block].patches for part in parts]),
                torch.cat([part[block].prefix for part in parts]),
                labels,
            )
            for block in blocks
        ]
    assert backbone.final_norm is not None
    return backbone.final_norm, found


def _wide(blocks: list[Tokens]) -> Tokens:
    patches = torch.cat([block.patches for block in blocks], dim=-1)
    prefix = torch.cat([block.prefix for block in blocks], dim=-1)
    order = torch.from_numpy(seeded_permutation(patches.shape[-1], 0))
    side = round(patches.shape[1] ** 0.5)
    quarter = patches.unflatten(1, (side, side))[:, ::2, ::2].flatten(1, 2)
    return Tokens(quarter[..., order], prefix[..., order], blocks[0].labels)


def outlier_channels(dim: int) -> torch.Tensor:
    """(OUTLIERS,) where outliers are planted in tokens of width `dim`."""
    return (torch.arange(OUTLIERS) * 2 + 1) * dim // (2 * OUTLIERS)


def _planted(tokens: Tokens, deviation: float, condition: Condition, seed: int) -> Tokens:
    generator = torch.Generator().manual_seed(seed)
    channels = outlier_channels(tokens.patches.shape[-1])
    signs = torch.tensor([1.0, -1.0]).repeat(OUTLIERS)[:OUTLIERS]
    artifacts = torch.rand(tokens.patches.shape[:2], generator=generator) < ARTIFACTS
    planted = []
    for found in (tokens.patches, tokens.prefix):
        added = condition.magnitude * deviation * signs
        jitter = 1 + JITTER * torch.randn((*found.shape[:2], OUTLIERS), generator=generator)
        where = artifacts.unsqueeze(-1) if condition.few and found is tokens.patches else 1.0
        changed = found.clone()
        changed[..., channels] += added * jitter * where
        planted.append(changed)
    planted[0][artifacts] *= ARTIFACT_NORM
    return Tokens(planted[0], planted[1], tokens.labels)


def _norm_after_planting(norm: FinalNorm, before: Tokens, after: Tokens, magnitude: float) -> FinalNorm:
    """The norm with a weight that makes up for the planted channels."""
    grown = (after.patches.std(dim=-1) / before.patches.std(dim=-1)).median()
    assert norm.weight is not None
    weight = norm.weight * grown
    weight[outlier_channels(len(weight))] /= magnitude
    return FinalNorm(norm.kind, norm.eps, weight, norm.bias)


@memoized
def tokens_of(condition: Condition) -> tuple[Splits, TokenInputs]:
    """The float32 tokens of each split, and how a probe reads them."""
    norm, blocks = computed_tokens()
    splits = {split: _wide(found) if condition.wide else found[-1] for split, found in blocks.items()}
    if condition.magnitude:
        deviation = float(splits["train"].patches.std())
        planted = {
            split: _planted(tokens, deviation, condition, seed)
            for seed, (split, tokens) in enumerate(splits.items())
        }
        norm = (
            norm
            if condition.wide
            else _norm_after_planting(norm, splits["train"], planted["train"], condition.magnitude)
        )
        splits = planted
    return splits, TokenInputs(condition.state, norm, cls=0)

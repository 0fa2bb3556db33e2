"""From batches of stored tokens to what each probe reads, once for all probes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch

from cache import FinalNorm, ResidentBatch, TokenArray, TokenBatch
from configs import TokenState, UserError
from probe.fused import StoredTokens, Tokens, in_precision
from probe.names import TokenSet

Combination: TypeAlias = Literal["concat", "mean"]
"""How the tokens of several blocks become one: their channels side by side, or their mean."""


Kernel: TypeAlias = Literal["auto", "plain"]
"""What attends to stored patches on a CUDA device: a fused kernel where it fits, or matrix products alone."""

DEVICES = ("cuda",)
"""That may have a fused kernel."""


@dataclass(frozen=True)
class TokenInputs:
    """How to turn batches into token sets: `state` pre or post `norm`, `cls` the place of [CLS]."""

    state: TokenState
    norm: FinalNorm | None
    cls: int | None
    combination: Combination = "concat"
    precision: torch.dtype = torch.float32
    """Of patches, and [CLS] among them; single vectors are float32."""
    kernel: Kernel = "plain"

    def __post_init__(self) -> None:
        if self.state == "post" and self.norm is None:
            raise UserError("--tokens post: the backbone has no final norm; use --tokens pre")

    def arrays(self, token_sets: Collection[TokenSet]) -> frozenset[TokenArray]:
        """The stored arrays that `token_sets` need. Raises `UserError` where there is no [CLS]."""
        needed: set[TokenArray] = set()
        for token_set in token_sets:
            if token_set in ("cls", "all"):
                if self.cls is None:
                    raise UserError("the backbone has no [CLS] token: use lp_mean, or a probe without +cls")
                needed.add("prefix")
            if token_set in ("patches", "all"):
                needed.add("patches")
            if token_set == "mean":
                needed.add("mean" if self.state == "pre" else "mean_normed")
        return frozenset(needed)

    def select(
        self, blocks: Sequence[TokenBatch], token_sets: Collection[TokenSet]
    ) -> dict[TokenSet, torch.Tensor]:
        """Each token set in float32: cls and mean (B, D), patches and all (B, N, D).

        `blocks`: the same images' tokens of every block that is probed, which are combined.
        """
        found = [self._of_block(batch, token_sets) for batch in blocks]
        return {token_set: self._combined([tokens[token_set] for tokens in found]) for token_set in found[0]}

    def for_probes(
        self, blocks: Sequence[TokenBatch], token_sets: Collection[TokenSet]
    ) -> dict[TokenSet, Tokens]:
        """The same, with patches and all in `precision`."""
        selected = self.select(blocks, token_sets)
        return {
            token_set: in_precision(tokens, self.precision) if tokens.ndim == 3 else tokens
            for token_set, tokens in selected.items()
        }

    def stored(self, blocks: Sequence[TokenBatch], token_set: TokenSet) -> StoredTokens | None:
        """`token_set` as it is stored, where a fused kernel may take it so; else None.

        That is patches of one block in 16 or 8 bits, on a CUDA device.
        """
        batch = blocks[0]
        if self.kernel == "plain" or (token_set, len(blocks)) != ("patches", 1):
            return None
        if batch.labels.device.type not in DEVICES:
            return None
        items: torch.Tensor | None = None
        kept: dict[str, torch.Tensor] = {}
        if isinstance(batch, ResidentBatch):
            patches, scales = (batch.resident.get(kind) for kind in ("patches", "patches_scale"))
            items, kept = batch.items, batch.kept
        else:
            patches, scales = batch.patches, batch.patches_scale
        if patches is None or patches.dtype == torch.float32:
            return None
        norm = self.norm if self.state == "post" else None
        return StoredTokens(patches.contiguous(), scales, self.precision, norm, items, kept)

    def _combined(self, tokens: Sequence[torch.Tensor]) -> torch.Tensor:
        if len(tokens) == 1:
            return tokens[0]
        if self.combination == "mean":
            return torch.stack(tuple(tokens)).mean(dim=0)
        return torch.cat(tuple(tokens), dim=-1)

    def _of_block(self, batch: TokenBatch, token_sets: Collection[TokenSet]) -> dict[TokenSet, torch.Tensor]:
        found: dict[TokenSet, torch.Tensor] = {}
        patches = prefix = None
        if {"patches", "all"} & set(token_sets):
            patches = batch.decoded("patches")
        if {"cls", "all"} & set(token_sets):
            prefix = batch.decoded("prefix")
        if patches is not None:
            found["patches"] = self._normed(patches)
        if prefix is not None and self.cls is not None:
            found["cls"] = self._normed(prefix[:, self.cls])
        mean = batch.mean if self.state == "pre" else batch.mean_normed
        if mean is not None:
            found["mean"] = mean
        if "all" in token_sets:
            found["all"] = torch.cat([found["cls"].unsqueeze(1), found["patches"]], dim=1)
        return {token_set: found[token_set] for token_set in set(token_sets)}

    def _normed(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.norm(tokens) if self.state == "post" and self.norm is not None else tokens

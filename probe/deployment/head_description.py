"""What a head needs around it, as JSON: beside exported files, and in a Hub repository."""

from __future__ import annotations

import torch

from cache import BackboneIdentity, FinalNorm
from configs import FrozenModel, TokenState
from probe.names import TokenSet
from probe.probe import Probe, build_probe
from probe.token_inputs import Combination, TokenInputs
from probe.trained_head import TrainedHead


class HeadDescription(FrozenModel):
    """One trial's head: the tokens that it reads, the classes that it tells apart, whose tokens they are."""

    probe: str
    classes: tuple[str, ...]
    token_set: TokenSet
    tokens: TokenState
    """Before or after the backbone's final norm."""
    blocks: tuple[int, ...]
    """In the order in which their channels stand side by side."""
    combination: Combination
    dim: int
    grid: tuple[int, ...]
    backbone: BackboneIdentity

    @classmethod
    def of(cls, head: TrainedHead) -> HeadDescription:
        """Of a finished run's head."""
        return cls(
            probe=head.name,
            classes=head.classes,
            token_set=head.probe.token_set,
            tokens=head.tokens,
            blocks=head.blocks,
            combination=head.combination,
            dim=head.dim,
            grid=head.grid,
            backbone=head.backbone,
        )

    def new_probe(self) -> Probe:
        """The probe without its trained parameters."""
        return build_probe(self.probe, self.dim, len(self.classes), self.grid).eval().requires_grad_(False)

    def inputs(self, norm: FinalNorm | None, precision: torch.dtype) -> TokenInputs:
        """From float32 tokens to what the head reads; `norm` is the backbone's last, on their device."""
        return TokenInputs(self.tokens, norm, self.backbone.cls, self.combination, precision)

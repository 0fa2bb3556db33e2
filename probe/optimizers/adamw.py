"""AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101), as `torch.optim.AdamW` has it."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from probe.optimizers.optimizer import Optimizer

EPS = 1e-8


class AdamW(Optimizer):
    """w ← (1 − lr λ) w − lr · m̂ / (√v̂ + ε), with bias-corrected means m̂ of g and v̂ of g²."""

    slots = ("mean", "square")

    def __init__(
        self,
        parameters: Mapping[str, torch.nn.Parameter],
        weight_decay: torch.Tensor,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        decay_vectors: bool = True,
    ) -> None:
        super().__init__(parameters, weight_decay, decay_vectors=decay_vectors)
        self._betas = betas

    def _update(
        self,
        parameter: torch.nn.Parameter,
        gradient: torch.Tensor,
        state: dict[str, torch.Tensor],
        lr: torch.Tensor,
    ) -> None:
        first, second = self._betas
        mean = state["mean"].lerp_(gradient, 1 - first)
        square = state["square"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        parameter.mul_(1 - lr * self._decay(parameter))
        root = (square / (1 - second**self.steps)).sqrt_().add_(EPS)
        parameter.addcmul_(mean / root, lr / (1 - first**self.steps), value=-1)

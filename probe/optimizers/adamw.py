"""AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101): `torch.optim`'s own fused step, trial by trial.

w ← (1 − lr λ) w − lr · m̂ / (√v̂ + ε), with bias-corrected means m̂ of g and v̂ of g²
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.optim.adamw import adamw

from probe.optimizers.optimizer import Optimizer, is_vector

EPS = 1e-8


class AdamW(Optimizer):
    """One pass over parameters and state, where elementwise steps of the whole stack would take nine."""

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
        self._decays: list[float] = weight_decay.tolist()

    @torch.no_grad()
    def step(self, lr: torch.Tensor) -> None:
        self.steps += 1
        trained = [name for name, parameter in self._parameters.items() if parameter.grad is not None]
        vectors = [name for name in trained if is_vector(self._parameters[name]) and not self._decay_vectors]
        for trial, rate in enumerate(lr):
            self._step(trial, [name for name in trained if name not in vectors], rate, self._decays[trial])
            self._step(trial, vectors, rate, 0.0)

    def _step(self, trial: int, names: list[str], lr: torch.Tensor, decay: float) -> None:
        if not names:
            return
        gradients = [self._parameters[name].grad for name in names]
        first, second = self._betas
        # from before the step; made where they are used, as a copy from the host would stop it
        counts = torch.full((len(names),), self.steps - 1.0, device=lr.device)
        adamw(
            [self._parameters[name][trial] for name in names],
            [gradient[trial] for gradient in gradients if gradient is not None],
            [self._state[name]["mean"][trial] for name in names],
            [self._state[name]["square"][trial] for name in names],
            [],
            list(counts),
            fused=True,
            amsgrad=False,
            beta1=first,
            beta2=second,
            lr=lr,
            weight_decay=decay,
            eps=EPS,
            maximize=False,
        )

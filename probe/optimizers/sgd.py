"""SGD with momentum, as `torch.optim.SGD` has it."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from probe.optimizers.optimizer import Optimizer


class SGD(Optimizer):
    """v ← momentum · v + g + λ w;  w ← w − lr · v."""

    slots = ("momentum",)

    def __init__(
        self,
        parameters: Mapping[str, torch.nn.Parameter],
        weight_decay: torch.Tensor,
        *,
        momentum: float = 0.9,
        decay_vectors: bool = True,
    ) -> None:
        super().__init__(parameters, weight_decay, decay_vectors=decay_vectors)
        self._momentum = momentum

    def _update(
        self,
        parameter: torch.nn.Parameter,
        gradient: torch.Tensor,
        state: dict[str, torch.Tensor],
        lr: torch.Tensor,
    ) -> None:
        update = torch.addcmul(gradient, parameter, self._decay(parameter))
        velocity = state["momentum"].mul_(self._momentum).add_(update)
        parameter.addcmul_(velocity, lr, value=-1)

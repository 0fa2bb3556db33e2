"""LARS (You et al. 2017, arXiv 1708.03888), as MAE's linear probe uses it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

TRUST_COEFFICIENT = 0.001


class LARS(torch.optim.Optimizer):
    """Momentum SGD whose step for each weight tensor w is scaled by 0.001 · ‖w‖ / ‖g + λw‖.

    Tensors of one dimension (biases) get plain momentum SGD, without scaling and weight decay.
    """

    def __init__(
        self,
        params: Iterable[torch.nn.Parameter],
        lr: float,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take one step. `closure` is not used."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, group)

    def _step(self, parameter: torch.nn.Parameter, group: dict[str, Any]) -> None:
        update = parameter.grad
        assert update is not None
        if parameter.ndim > 1:
            update = update.add(parameter, alpha=group["weight_decay"])
            ratio = TRUST_COEFFICIENT * parameter.norm() / update.norm()
            # a zero weight or gradient leaves the step unscaled
            update = update * torch.where(torch.isfinite(ratio) & (ratio > 0), ratio, 1.0)
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum: torch.Tensor = state["momentum"]
        momentum.mul_(group["momentum"]).add_(update)
        parameter.add_(momentum, alpha=-group["lr"])

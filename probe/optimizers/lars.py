"""LARS (You et al. 2017, arXiv 1708.03888), as MAE's linear probe uses it."""

from __future__ import annotations

import torch

from probe.optimizers.optimizer import is_vector, per_trial, trial_norms
from probe.optimizers.sgd import SGD

TRUST_COEFFICIENT = 0.001


class LARS(SGD):
    """Momentum SGD whose step for each weight tensor w is scaled by 0.001 · ‖w‖ / ‖g + λw‖.

    Tensors of one axis (biases) get plain momentum SGD, without scaling and weight decay.
    """

    def _update(
        self,
        parameter: torch.nn.Parameter,
        gradient: torch.Tensor,
        state: dict[str, torch.Tensor],
        lr: torch.Tensor,
    ) -> None:
        update = gradient
        if not is_vector(parameter):
            update = torch.addcmul(gradient, parameter, self._decay(parameter))
            ratio = TRUST_COEFFICIENT * trial_norms([parameter]) / trial_norms([update])
            # a zero weight or gradient leaves the step unscaled
            ratio = torch.where(torch.isfinite(ratio) & (ratio > 0), ratio, 1.0)
            update = update * per_trial(ratio, parameter)
        velocity = state["momentum"].mul_(self._momentum).add_(update)
        parameter.addcmul_(velocity, lr, value=-1)

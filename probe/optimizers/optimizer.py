"""What the optimisers share: parameters, per-trial rates, and their state by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch


class Optimizer:
    """Base: subclasses update one parameter; `slots` names the tensors they keep for each.

    parameters: by name, (K, …). weight_decay: (K,). `decay_vectors` False spares tensors of one axis (biases,
    norms) the weight decay.
    """

    slots: tuple[str, ...] = ()

    def __init__(
        self,
        parameters: Mapping[str, torch.nn.Parameter],
        weight_decay: torch.Tensor,
        *,
        decay_vectors: bool = True,
    ) -> None:
        self.steps = 0
        self._parameters = dict(parameters)
        self._weight_decay = weight_decay
        self._decay_vectors = decay_vectors
        self._state = {
            name: {slot: torch.zeros_like(parameter) for slot in self.slots}
            for name, parameter in parameters.items()
        }

    @torch.no_grad()
    def step(self, lr: torch.Tensor) -> None:
        """One step of each trial with its own learning rate, (K,)."""
        self.steps += 1
        for name, parameter in self._parameters.items():
            if parameter.grad is not None:  # published poolings have parameters that nothing reads
                self._update(parameter, parameter.grad, self._state[name], per_trial(lr, parameter))

    def _update(
        self,
        parameter: torch.nn.Parameter,
        gradient: torch.Tensor,
        state: dict[str, torch.Tensor],
        lr: torch.Tensor,
    ) -> None:
        raise NotImplementedError

    def _decay(self, parameter: torch.Tensor) -> torch.Tensor:
        """Weight decay of each trial for this parameter, (K, 1, …)."""
        decayed = self._decay_vectors or not is_vector(parameter)
        return per_trial(self._weight_decay * decayed, parameter)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """`parameter/slot` → (K, …). The number of steps is the caller's to keep."""
        return {f"{name}/{slot}": t for name, held in self._state.items() for slot, t in held.items()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor], steps: int) -> None:
        """Take up `state_dict` after so many steps."""
        self.steps = steps
        for name, held in self._state.items():
            for slot, tensor in held.items():
                tensor.copy_(state[f"{name}/{slot}"])


def per_trial(values: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """(K,) → (K, 1, …, 1), to be multiplied with a parameter."""
    return values.view(-1, *[1] * (parameter.ndim - 1))


def is_vector(parameter: torch.Tensor) -> bool:
    """Whether one trial's part has a single axis: a bias, or a norm's weight."""
    return parameter.ndim <= 2


def trial_norms(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """(K,) Euclidean norm of each trial's part of all `tensors` together."""
    norms: torch.Tensor = torch.stack([tensor.flatten(1).norm(dim=1) for tensor in tensors]).norm(dim=0)
    return norms

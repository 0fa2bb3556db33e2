"""Trials of one architecture on their way through training, in step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from probe.fused import Tokens
from probe.optimizers import LARS, SGD, AdamW, Optimizer, clip_gradients
from probe.probe import Probe, build_probe
from probe.processes import sharing, sum_in_place, summed, summed_count
from probe.rates import LearningRates
from probe.setting import TrainingSetting
from probe.stacked import select, stack, trial_state
from probe.stopwatch import Stopwatch


class TrialStack:
    """K probes of one name, one for each setting, trained by one fused step on the same batches.

    Each starts from its own seed and takes the steps that it takes alone. All have one optimiser.
    """

    def __init__(
        self,
        name: str,
        dim: int,
        num_classes: int,
        settings: Sequence[TrainingSetting],
        device: torch.device,
        *,
        grid: tuple[int, ...] = (14, 14),
    ) -> None:
        self.name = name
        self.settings = list(settings)
        self.probe = stack([_started(name, dim, num_classes, grid, setting) for setting in settings])
        self.probe.to(device)
        self.device = device
        self._optimizer = _optimizer(self.probe, self.settings, device)
        self._rates = LearningRates(self.settings, device)
        self._stopwatch = Stopwatch(device)
        self._seconds_before = 0.0

    def __len__(self) -> int:
        return len(self.settings)

    @property
    def seconds(self) -> float:
        """Seconds of computation on one of these trials: its share of the stack's.

        Reading tokens, which all stacks share, is not in it.
        """
        return self._seconds_before + self._stopwatch.seconds() / len(self)

    def step(self, tokens: Tokens, labels: torch.Tensor, images: int | None = None) -> torch.Tensor:
        """One training step; each trial's loss before it, (K,), still on the device.

        Of several processes, each gives its share of a batch of so many `images`: gradients and losses are
        the whole batch's.
        """
        whole = summed_count(len(labels), labels.device) if images is None else images
        with self._stopwatch.running(), sharing(len(labels), whole):
            self.probe.train()
            losses = self.probe.losses(tokens, labels, whole)
            self.probe.zero_grad(set_to_none=True)
            losses.sum().backward()
            sum_in_place(p.grad for p in self.probe.parameters() if p.grad is not None)
            recipe = self.settings[0].recipe
            if recipe.clip_norm is not None:
                clip_gradients(self.probe.parameters(), recipe.clip_norm)
            self._optimizer.step(self._rates.at(self._optimizer.steps))
        return summed(losses.detach())

    @torch.inference_mode()
    def logits(self, tokens: Tokens) -> torch.Tensor:
        """Logits (K, B, C) in eval mode."""
        with self._stopwatch.running():
            self.probe.eval()
            found: torch.Tensor = self.probe(tokens)
        return found

    def keep(self, trials: Sequence[int]) -> None:
        """Go on with these trials alone."""
        self._seconds_before, self._stopwatch = self.seconds, Stopwatch(self.device)
        state, steps = self._optimizer.state_dict(), self._optimizer.steps
        self.settings = [self.settings[trial] for trial in trials]
        self.probe = select(self.probe, trials)
        self._optimizer = _optimizer(self.probe, self.settings, self.device)
        self._rates = LearningRates(self.settings, self.device)
        self._optimizer.load_state_dict({key: value[list(trials)] for key, value in state.items()}, steps)

    def head(self, trial: int) -> dict[str, torch.Tensor]:
        """The parameters and buffers of one trial's probe, without the trial axis, on the CPU."""
        return {name: value.cpu() for name, value in trial_state(self.probe, trial).items()}

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Everything that training goes on from, but the number of steps."""
        probe = {f"probe/{name}": tensor for name, tensor in self.probe.state_dict().items()}
        return probe | {f"optimizer/{name}": tensor for name, tensor in self._optimizer.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor], steps: int) -> None:
        """Take up `state_dict` after so many steps."""
        self.probe.load_state_dict(_below("probe/", state))
        self._optimizer.load_state_dict(_below("optimizer/", state), steps)


def _below(prefix: str, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}


def _started(name: str, dim: int, num_classes: int, grid: tuple[int, ...], setting: TrainingSetting) -> Probe:
    """A probe whose start depends on nothing but its seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setting.seed)
        probe = build_probe(name, dim, num_classes, grid)
        if setting.recipe.classifier_std is not None:
            torch.nn.init.trunc_normal_(probe.classifier.weight, std=setting.recipe.classifier_std)
    return probe


def _optimizer(probe: Probe, settings: Sequence[TrainingSetting], device: torch.device) -> Optimizer:
    parameters = dict(probe.named_parameters())
    decay = torch.tensor([setting.weight_decay for setting in settings], device=device)
    recipe = settings[0].recipe
    if recipe.optimizer == "lars":
        return LARS(parameters, decay, momentum=recipe.momentum)
    if recipe.optimizer == "sgd":
        return SGD(parameters, decay, momentum=recipe.momentum, decay_vectors=recipe.decay_vectors)
    return AdamW(parameters, decay, betas=recipe.betas, decay_vectors=recipe.decay_vectors)

"""One probe with one setting, on its way through training."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from configs import RecipeConfig
from probe.lars import LARS
from probe.probe import Probe, build_probe
from probe.schedule import warmup_cosine


@dataclass(frozen=True)
class TrainingSetting:
    """What decides a trial's training beside the data. `lr` is final: batch scaling is done."""

    optimizer: str
    lr: float
    weight_decay: float
    momentum: float
    epochs: int
    warmup_epochs: float
    steps_per_epoch: int
    seed: int


def setting_from(
    recipe: RecipeConfig, *, batch_size: int, steps_per_epoch: int, seed: int
) -> TrainingSetting:
    """The recipe at a batch size. Its `epochs` may have been shortened; the warm-up is not longer."""
    return TrainingSetting(
        optimizer=recipe.optimizer,
        lr=recipe.lr * batch_size / 256 if recipe.lr_per_256 else recipe.lr,
        weight_decay=recipe.weight_decay,
        momentum=recipe.momentum,
        epochs=recipe.epochs,
        warmup_epochs=recipe.warmup_epochs,
        steps_per_epoch=steps_per_epoch,
        seed=seed,
    )


def _optimizer(probe: Probe, setting: TrainingSetting) -> torch.optim.Optimizer:
    parameters = list(probe.parameters())
    decay, lr = setting.weight_decay, setting.lr
    if setting.optimizer == "lars":
        return LARS(parameters, lr, momentum=setting.momentum, weight_decay=decay)
    if setting.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr, momentum=setting.momentum, weight_decay=decay)
    return torch.optim.AdamW(parameters, lr, weight_decay=decay)


class Trial:
    """A probe, its optimiser and its schedule. Its start depends on nothing but its own seed."""

    def __init__(
        self, name: str, dim: int, num_classes: int, setting: TrainingSetting, device: torch.device
    ) -> None:
        self.name = name
        self.setting = setting
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setting.seed)
            self.probe = build_probe(name, dim, num_classes).to(device)
        self._optimizer = _optimizer(self.probe, setting)
        self._step = 0
        self._clock = _Clock(device)

    @property
    def seconds(self) -> float:
        """Seconds of computation on this trial alone; reading tokens, shared by all, is not in it."""
        return self._clock.seconds()

    def step(self, tokens: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """One training step; the loss before it, 0-d, still on the device."""
        factor = warmup_cosine(
            self._step,
            steps_per_epoch=self.setting.steps_per_epoch,
            epochs=self.setting.epochs,
            warmup_epochs=self.setting.warmup_epochs,
        )
        for group in self._optimizer.param_groups:
            group["lr"] = self.setting.lr * factor
        with self._clock.running():
            self.probe.train()
            self._optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(self.probe(tokens), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
        self._step += 1
        return loss.detach()

    @torch.inference_mode()
    def logits(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits (B, C) in eval mode."""
        with self._clock.running():
            self.probe.eval()
            found: torch.Tensor = self.probe(tokens)
        return found


class _Clock:
    """Sums the time that a device spends in marked stretches."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._sum = 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        if self._device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            start.record()
            yield
            end.record()
            self._events.append((start, end))
        else:
            began = time.perf_counter()
            yield
            self._sum += time.perf_counter() - began

    def seconds(self) -> float:
        for start, end in self._events:
            end.synchronize()
            self._sum += start.elapsed_time(end) / 1000
        self._events.clear()
        return self._sum

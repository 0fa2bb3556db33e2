"""Training several probes on the same batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from cache import TokenBatch
from probe.token_inputs import TokenInputs
from probe.trial import Trial


@dataclass(frozen=True)
class EpochResult:
    """One epoch of one trial. Accuracies in percent, on the evaluation split, after the epoch."""

    probe: str
    epoch: int
    loss: float
    """Mean training loss over the epoch's images."""
    top1: float
    top5: float
    images_per_second: float
    """Training images of the epoch through all trials together, reading included."""


def fit(
    trials: Sequence[Trial],
    inputs: TokenInputs,
    train: Callable[[int], Iterable[TokenBatch]],
    evaluation: Callable[[], Iterable[TokenBatch]],
    *,
    epochs: int,
) -> Iterator[list[EpochResult]]:
    """Train all trials side by side; after each epoch, give one result for each.

    `train(epoch)` gives the epoch's batches (epochs count from 0) and `evaluation()` those of the evaluation
    split, wherever they come from: a store, or a backbone.
    """
    for epoch in range(epochs):
        started = time.perf_counter()
        losses, images = _train_epoch(trials, inputs, train(epoch))
        rate = images / (time.perf_counter() - started)
        accuracies = evaluate(trials, inputs, evaluation())
        yield [
            EpochResult(trial.name, epoch + 1, loss, top1, top5, rate)
            for trial, loss, (top1, top5) in zip(trials, losses, accuracies, strict=True)
        ]


def _train_epoch(
    trials: Sequence[Trial], inputs: TokenInputs, batches: Iterable[TokenBatch]
) -> tuple[list[float], int]:
    token_sets = {trial.probe.token_set for trial in trials}
    sums: list[torch.Tensor | float] = [0.0] * len(trials)
    images = 0
    for batch in batches:
        tokens = inputs.select(batch, token_sets)
        for number, trial in enumerate(trials):
            loss = trial.step(tokens[trial.probe.token_set], batch.labels)
            sums[number] += loss * len(batch)
        images += len(batch)
    return [float(total) / images for total in sums], images


def evaluate(
    trials: Sequence[Trial], inputs: TokenInputs, batches: Iterable[TokenBatch]
) -> list[tuple[float, float]]:
    """Top-1 and top-5 accuracy of each trial, in percent."""
    token_sets = {trial.probe.token_set for trial in trials}
    correct: list[torch.Tensor | int] = [0] * len(trials)
    images = 0
    for batch in batches:
        tokens = inputs.select(batch, token_sets)
        for number, trial in enumerate(trials):
            correct[number] += _correct(trial.logits(tokens[trial.probe.token_set]), batch.labels)
        images += len(batch)
    return [
        (100 * float(top1) / images, 100 * float(top5) / images)
        for top1, top5 in (torch.as_tensor(counts).tolist() for counts in correct)
    ]


def _correct(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(2,) images whose class is first, and among the first five."""
    top = logits.topk(min(5, logits.shape[1])).indices == labels.unsqueeze(1)
    return torch.stack([top[:, 0].sum(), top.any(dim=1).sum()])

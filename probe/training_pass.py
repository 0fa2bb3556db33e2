"""One pass: trials on the same images, trained together from the first epoch to the last."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from configs import RecipeConfig, TokenState
from probe.checkpoint import stack_state, stacks_state
from probe.outcome import EpochRow, Outcome
from probe.predictions import FirstClasses
from probe.setting import TrainingSetting
from probe.split_batches import SplitBatches
from probe.token_inputs import TokenInputs
from probe.training import Accuracy, FedStack, evaluate, train_epoch
from probe.trial_stack import TrialStack

HALVINGS = (1 / 8, 1 / 4, 1 / 2)
"""Shares of the epochs after which pruning drops half of the settings of each probe."""


@dataclass(frozen=True)
class PassData:
    """Batches of the parts of the data. `held_out` is None where nothing is chosen."""

    train: SplitBatches
    held_out: SplitBatches | None
    evaluation: SplitBatches


@dataclass
class _Group:
    """A stack and the outcomes of its trials, in its order."""

    fed: FedStack
    outcomes: list[Outcome]


class TrainingPass:
    """Stacks of trials, and their way through the epochs.

    `outcomes` are in the order of the trials; those of one probe and token state are stacked.
    """

    def __init__(
        self,
        outcomes: Sequence[Outcome],
        recipe: RecipeConfig,
        data: PassData,
        inputs: Mapping[TokenState, TokenInputs],
        *,
        dim: int,
        grid: tuple[int, ...],
        num_classes: int,
        device: torch.device,
        every_epoch: bool,
        prune: bool,
    ) -> None:
        self._recipe, self._data = recipe, data
        self._every_epoch, self._prune = every_epoch, prune
        self.outcomes = list(outcomes)
        self._num_classes, self._device = num_classes, device
        self.predictions: dict[str, torch.Tensor] = {}
        """After the last epoch, each trial's first classes of every evaluation record, (records, 5)."""
        self._seconds_before = {outcome.name: outcome.seconds for outcome in outcomes}
        self._groups = []
        for key in dict.fromkeys((o.spec.probe, o.spec.tokens) for o in outcomes):
            own = [outcome for outcome in outcomes if (outcome.spec.probe, outcome.spec.tokens) == key]
            settings = [
                TrainingSetting(recipe, o.lr, o.spec.weight_decay, o.spec.seed, len(data.train)) for o in own
            ]
            stack = TrialStack(key[0], dim, num_classes, settings, device, grid=grid)
            self._groups.append(_Group(FedStack(stack, inputs[key[1]]), own))

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The stacks, to go on from after an epoch."""
        return stacks_state([group.fed.stack.state_dict() for group in self._groups])

    def load_state_dict(self, tensors: Mapping[str, torch.Tensor], epochs: int) -> None:
        """Take up the state after so many epochs; the outcomes say which trials are left."""
        for number, group in enumerate(self._groups):
            self._keep(group, [not outcome.pruned for outcome in group.outcomes])
            group.fed.stack.load_state_dict(stack_state(tensors, number), epochs * len(self._data.train))

    def heads(self) -> dict[str, torch.Tensor]:
        """`trial/parameter` → the tensors of every trained head."""
        return {
            f"{outcome.name}/{key}": tensor
            for group in self._groups
            for trial, outcome in enumerate(group.outcomes)
            for key, tensor in group.fed.stack.head(trial).items()
        }

    def run(
        self,
        first: int,
        after_epoch: Callable[[int, list[EpochRow]], None],
        after_batch: Callable[[int], None] | None = None,
    ) -> None:
        """Train from epoch `first` (from 0) on.

        `after_epoch(number from 1, rows)` is called after each, `after_batch(its images)` within.
        """
        for epoch in range(first, self._recipe.epochs):
            rows = self._epoch(epoch, after_batch)
            for outcome in self.outcomes:
                outcome.epochs += [row for row in rows if row.trial == outcome.name]
            for group in self._groups:
                for outcome in group.outcomes:
                    outcome.seconds = self._seconds_before[outcome.name] + group.fed.stack.seconds
            self._halve(epoch + 1)
            after_epoch(epoch + 1, rows)

    def _epoch(self, epoch: int, after_batch: Callable[[int], None] | None) -> list[EpochRow]:
        stacks = [group.fed for group in self._groups]
        train = self._data.train
        trained = train_epoch(stacks, train.epoch(epoch), after_batch, batch_size=train.batch_size)
        held_out = evaluation = None
        if self._data.held_out is not None:
            held_out = evaluate(stacks, self._data.held_out)
        if self._every_epoch or epoch + 1 == self._recipe.epochs:
            evaluation = self._evaluated(stacks, last=epoch + 1 == self._recipe.epochs)
        rate = trained.images / trained.seconds
        rows = []
        for number, group in enumerate(self._groups):
            for trial, outcome in enumerate(group.outcomes):
                chosen = None if held_out is None else held_out[number][trial]
                measured = None if evaluation is None else evaluation[number][trial]
                loss = trained.losses[number][trial]
                rows.append(EpochRow(outcome.name, epoch + 1, loss, *_pair(chosen), *_pair(measured), rate))
        return rows

    def _evaluated(self, stacks: Sequence[FedStack], last: bool) -> list[list[Accuracy]]:
        batches = self._data.evaluation
        if not last:
            return evaluate(stacks, batches)
        kept = [
            FirstClasses(len(fed.stack), batches.records, self._num_classes, self._device) for fed in stacks
        ]
        found = evaluate(stacks, batches, kept)
        for group, classes in zip(self._groups, kept, strict=True):
            self.predictions |= zip((o.name for o in group.outcomes), classes.whole(), strict=True)
        return found

    def _halve(self, done: int) -> None:
        """Successive halving (Jamieson & Talwalkar 2016, arXiv 1502.07943) on the held-out accuracy."""
        epochs = self._recipe.epochs
        if not self._prune or done == epochs or done not in {round(epochs * share) for share in HALVINGS}:
            return
        for group in self._groups:
            self._keep(group, _better_half(group.outcomes))

    def _keep(self, group: _Group, kept: Sequence[bool]) -> None:
        if all(kept):
            return
        group.fed.stack.keep([trial for trial, stays in enumerate(kept) if stays])
        for outcome, stays in zip(group.outcomes, kept, strict=True):
            outcome.pruned = not stays
        group.outcomes = [outcome for outcome in group.outcomes if not outcome.pruned]


def _pair(accuracy: Accuracy | None) -> tuple[float | None, float | None]:
    return (None, None) if accuracy is None else (accuracy.top1, accuracy.top5)


def _better_half(outcomes: Sequence[Outcome]) -> list[bool]:
    """Which trials go on: those of the better half of the settings, by the mean over their repeats."""
    scores: dict[tuple[float, float], list[float]] = {}
    for outcome in outcomes:
        assert outcome.last.held_out_top1 is not None
        scores.setdefault(outcome.spec.choice, []).append(outcome.last.held_out_top1)
    ranked = sorted(scores, key=lambda choice: -sum(scores[choice]) / len(scores[choice]))
    kept = set(ranked[: -(-len(ranked) // 2)])
    return [outcome.spec.choice in kept for outcome in outcomes]

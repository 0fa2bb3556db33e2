"""Training any number of stacks on the same batches, and measuring them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from cache import TokenBatch
from probe.names import TokenSet
from probe.processes import summed, summed_count
from probe.token_inputs import TokenInputs
from probe.trial_stack import TrialStack

Blocks = Sequence[TokenBatch]
"""One batch: the same images' tokens of every block that is probed."""


@dataclass(frozen=True)
class FedStack:
    """A stack, and how it reads batches."""

    stack: TrialStack
    inputs: TokenInputs

    @property
    def token_set(self) -> TokenSet:
        """What its probe reads."""
        return self.stack.probe.token_set


@dataclass(frozen=True)
class Accuracy:
    """In percent, of one trial."""

    top1: float
    top5: float


@dataclass(frozen=True)
class TrainedEpoch:
    """One epoch of all stacks: for each, its trials' mean training losses over the epoch's images."""

    losses: list[list[float]]
    images: int
    seconds: float


def train_epoch(stacks: Sequence[FedStack], batches: Iterable[Blocks]) -> TrainedEpoch:
    """Give every batch to every stack."""
    started = time.perf_counter()
    sums = [torch.zeros(len(fed.stack), device=fed.stack.device) for fed in stacks]
    images = 0
    for batch in batches:
        labels = batch[0].labels
        count = summed_count(len(labels), labels.device)
        for number, (fed, tokens) in enumerate(_fed(stacks, batch)):
            sums[number] += fed.stack.step(tokens, labels) * count
        images += count
    means = [(total / images).tolist() for total in sums]
    return TrainedEpoch(means, images, time.perf_counter() - started)


def evaluate(stacks: Sequence[FedStack], batches: Iterable[Blocks]) -> list[list[Accuracy]]:
    """The accuracies of every stack's trials."""
    correct = [torch.zeros(2, len(fed.stack), device=fed.stack.device) for fed in stacks]
    images = 0
    for batch in batches:
        labels = batch[0].labels
        if not len(labels):  # other processes have all there is of this batch
            continue
        for number, (fed, tokens) in enumerate(_fed(stacks, batch)):
            correct[number] += _correct(fed.stack.logits(tokens), labels)
        images += len(labels)
    total = summed_count(images, correct[0].device)
    return [
        [Accuracy(top1, top5) for top1, top5 in (100 * summed(counts).double() / total).T.tolist()]
        for counts in correct
    ]


def _fed(stacks: Sequence[FedStack], batch: Blocks) -> Iterator[tuple[FedStack, torch.Tensor]]:
    """Each stack with its tokens; what several read is made once."""
    readers: dict[int, tuple[TokenInputs, set[TokenSet]]] = {}
    for fed in stacks:
        readers.setdefault(id(fed.inputs), (fed.inputs, set()))[1].add(fed.token_set)
    made = {key: inputs.select(batch, sets) for key, (inputs, sets) in readers.items()}
    for fed in stacks:
        yield fed, made[id(fed.inputs)][fed.token_set]


def _correct(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(K, B, C) logits → (2, K) images whose class is first, and among the first five."""
    top = logits.topk(min(5, logits.shape[-1])).indices == labels.unsqueeze(1)
    return torch.stack([top[..., 0].sum(dim=1), top.any(dim=-1).sum(dim=1)])

"""Training any number of stacks on the same batches, and measuring them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from cache import TokenBatch
from probe.fused import Tokens
from probe.names import TokenSet
from probe.predictions import RANKS, FirstClasses
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


def train_epoch(
    stacks: Sequence[FedStack],
    batches: Iterable[Blocks],
    after_batch: Callable[[int], None] | None = None,
    *,
    batch_size: int | None = None,
) -> TrainedEpoch:
    """Give every batch to every stack; `after_batch` is told its images, those of all processes.

    Where each batch has `batch_size` of them, processes need not ask one another how many they are.
    """
    started = time.perf_counter()
    sums = [torch.zeros(len(fed.stack), device=fed.stack.device) for fed in stacks]
    images = 0
    for batch in batches:
        labels = batch[0].labels
        count = batch_size or summed_count(len(labels), labels.device)
        for number, (fed, tokens) in enumerate(_fed(stacks, batch)):
            sums[number] += fed.stack.step(tokens, labels, count) * count
        images += count
        if after_batch is not None:
            after_batch(count)
    means = [(total / images).tolist() for total in sums]
    return TrainedEpoch(means, images, time.perf_counter() - started)


def evaluate(
    stacks: Sequence[FedStack], batches: Iterable[Blocks], kept: Sequence[FirstClasses] | None = None
) -> list[list[Accuracy]]:
    """The accuracies of every stack's trials. `kept`, one for each stack, collect what was predicted."""
    correct = [torch.zeros(2, len(fed.stack), device=fed.stack.device) for fed in stacks]
    images = 0
    for batch in batches:
        labels = batch[0].labels
        if not len(labels):  # other processes have all there is of this batch
            continue
        for number, (fed, tokens) in enumerate(_fed(stacks, batch)):
            classes = _first_classes(fed.stack.logits(tokens))
            correct[number] += _correct(classes, labels)
            if kept is not None:
                kept[number].add(batch[0].index, classes)
        images += len(labels)
    total = summed_count(images, correct[0].device)
    return [
        [Accuracy(top1, top5) for top1, top5 in (100 * summed(counts).double() / total).T.tolist()]
        for counts in correct
    ]


def _fed(stacks: Sequence[FedStack], batch: Blocks) -> Iterator[tuple[FedStack, Tokens]]:
    """Each stack with its tokens; what several read is made once."""
    readers: dict[int, tuple[TokenInputs, set[TokenSet]]] = {}
    for fed in stacks:
        readers.setdefault(id(fed.inputs), (fed.inputs, set()))[1].add(fed.token_set)
    made = {key: _tokens(inputs, batch, sets) for key, (inputs, sets) in readers.items()}
    for fed in stacks:
        yield fed, made[id(fed.inputs)][fed.token_set]


def _tokens(inputs: TokenInputs, batch: Blocks, token_sets: Collection[TokenSet]) -> dict[TokenSet, Tokens]:
    """Each token set, as stored where a fused kernel may take it so: who else reads it decodes it once."""
    stored = {token_set: inputs.stored(batch, token_set) for token_set in token_sets}
    others = [token_set for token_set, tokens in stored.items() if tokens is None]
    found: dict[TokenSet, Tokens] = {key: tokens for key, tokens in stored.items() if tokens is not None}
    if others:
        found.update(inputs.for_probes(batch, others))
    return found


def _first_classes(logits: torch.Tensor) -> torch.Tensor:
    """(K, B, C) logits → (K, B, 5) classes, best first; fewer where there are fewer classes."""
    return logits.topk(min(RANKS, logits.shape[-1])).indices


def _correct(classes: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(K, B, 5) first classes → (2, K) images whose class is first, and among the first five."""
    top = classes == labels.unsqueeze(1)
    return torch.stack([top[..., 0].sum(dim=1), top.any(dim=-1).sum(dim=1)])

"""What a trained head says of stored tokens, and of the same tokens computed again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from cache import FinalNorm, TokenBatch
from probe.deployment.compared_batches import ComparedBatch
from probe.token_inputs import TokenInputs
from probe.trained_head import TrainedHead


@dataclass(frozen=True)
class LogitDifferences:
    """Over all compared images."""

    largest: float
    mean: float
    deviation: float
    """Standard deviation of the logits from the store, over images and classes."""
    loss_stored: float
    loss_computed: float
    same_class: float
    """Share of images whose first class is the same."""
    top1_stored: float
    """Share of images that are classified right."""
    top1_computed: float
    tolerance: float
    """Of the largest difference, as a share of the deviation."""

    @property
    def agrees(self) -> bool:
        """Whether no logit differs by more than the tolerance; NaN never does."""
        return self.largest <= self.tolerance * self.deviation


class LogitSums:
    """Collects logits; `stored` and `computed` are the norms of the store and of the backbone."""

    def __init__(self, head: TrainedHead, stored: FinalNorm | None, computed: FinalNorm | None) -> None:
        self._head = head
        cpu = torch.device("cpu")
        self._inputs = [head.inputs(None if norm is None else norm.to(cpu)) for norm in (stored, computed)]
        self._logits: list[list[torch.Tensor]] = [[], []]
        self._labels: list[torch.Tensor] = []

    @torch.inference_mode()
    def add(self, batch: ComparedBatch) -> None:
        """Classify the batch's images by both kinds of tokens."""
        self._labels.append(batch.labels)
        for logits, inputs, values in zip(
            self._logits, self._inputs, (batch.stored, batch.computed), strict=True
        ):
            logits.append(self._classified(inputs, values, batch.labels))

    def _classified(
        self, inputs: TokenInputs, values: dict[str, torch.Tensor], labels: torch.Tensor
    ) -> torch.Tensor:
        token_set = self._head.probe.token_set
        kinds = inputs.arrays([token_set])
        blocks = [
            TokenBatch(
                labels=labels, index=labels, **{kind: values[f"block{block}/{kind}"] for kind in kinds}
            )
            for block in self._head.blocks
        ]
        found: torch.Tensor = self._head.probe(inputs.for_probes(blocks, [token_set])[token_set])[0]
        return found

    def result(self, tolerance: float) -> LogitDifferences:
        """Of all that was added."""
        stored, computed = (torch.cat(logits) for logits in self._logits)
        labels = torch.cat(self._labels)
        differences = (stored - computed).abs()
        first, second = stored.argmax(dim=-1), computed.argmax(dim=-1)
        return LogitDifferences(
            largest=float(differences.max()),
            mean=float(differences.mean()),
            deviation=float(stored.std()),
            loss_stored=float(F.cross_entropy(stored, labels)),
            loss_computed=float(F.cross_entropy(computed, labels)),
            same_class=float((first == second).float().mean()),
            top1_stored=float((first == labels).float().mean()),
            top1_computed=float((second == labels).float().mean()),
            tolerance=tolerance,
        )

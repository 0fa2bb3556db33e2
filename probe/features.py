"""One vector for each image of a part of the data, in memory: what classifiers in closed form read."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cache import Residency
from probe.names import TokenSet
from probe.split_batches import SplitBatches
from probe.token_inputs import TokenInputs
from probe.training_data import DataPart

BATCH = 1024

VECTORS: dict[str, tuple[TokenSet, ...]] = {"": ("cls",), "mean": ("mean",), "both": ("cls", "mean")}
"""What follows `knn_` or `logreg_`: the token sets whose vectors are put side by side."""


@dataclass(frozen=True)
class Features:
    """values (n, D) float32 and labels (n,) int64, on the CPU."""

    values: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def joined(self, other: Features | None) -> Features:
        """These and `other`'s."""
        if other is None:
            return self
        return Features(torch.cat([self.values, other.values]), torch.cat([self.labels, other.labels]))


def read_features(
    part: DataPart, inputs: TokenInputs, vectors: tuple[TokenSet, ...], device: torch.device
) -> Features:
    """Of every image of `part`, in order."""
    batches = SplitBatches(
        part.blocks, BATCH, residency=Residency("host", 0), device=device, shared_out=False
    )
    values, labels = [], []
    for batch in batches:
        tokens = inputs.select(batch, vectors)
        values.append(torch.cat([tokens[token_set] for token_set in vectors], dim=-1).cpu())
        labels.append(batch[0].labels.cpu().clone())  # the loader uses its buffers again
    return Features(torch.cat(values), torch.cat(labels))

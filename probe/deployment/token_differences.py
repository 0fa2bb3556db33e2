"""The differences between stored tokens and the same images' tokens, computed again."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class ArrayDifferences:
    """Of one array, over all compared images and views."""

    name: str
    dtype: str
    largest: float
    """Of a single value, absolute."""
    mean: float
    relative: float
    """Root mean square of the differences, divided by that of the computed values, over all images.

    Values below the smallest normal number of the dtype are rounded in absolute steps: it is divided by that
    number where it is more.
    """
    worst_relative: float
    """The same of the image where it is largest."""
    worst_sample: int
    """That image's position in the source."""
    worst_cosine: float
    """Between a stored token and the computed one, the smallest."""
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Whether every image is within the tolerance; NaN never is."""
        return self.worst_relative <= self.tolerance


class DifferenceSums:
    """Sums over batches of one array, in float64. `smallest`: normal number of the stored dtype."""

    def __init__(self, smallest: float) -> None:
        self._smallest = smallest
        self._largest, self._worst_cosine = torch.tensor(0.0), torch.tensor(1.0)
        self._absolute, self._values = 0.0, 0
        self._squares: list[torch.Tensor] = []
        self._samples: list[int] = []

    def add(self, stored: torch.Tensor, computed: torch.Tensor, samples: list[int]) -> None:
        """(B, …, D) float32 each, of the images `samples`."""
        stored, computed = stored.double(), computed.double()
        cosines = torch.cosine_similarity(stored, computed, dim=-1)
        self._worst_cosine = torch.minimum(self._worst_cosine, cosines.min())  # NaN stays
        differences, computed = (stored - computed).flatten(1), computed.flatten(1)
        self._largest = torch.maximum(self._largest, differences.abs().max())
        self._absolute += float(differences.abs().sum())
        self._values += differences.numel()
        self._squares.append(torch.stack([differences.square().sum(dim=1), computed.square().sum(dim=1)]))
        self._samples += samples

    def result(self, name: str, dtype: str, tolerance: float) -> ArrayDifferences:
        """Of all that was added."""
        of_differences, of_values = torch.cat(self._squares, dim=1)
        of_values = of_values.clamp_min(self._values / len(of_values) * self._smallest**2)
        each = (of_differences / of_values).sqrt()
        worst = int(each.argmax())
        return ArrayDifferences(
            name=name,
            dtype=dtype,
            largest=float(self._largest),
            mean=self._absolute / self._values,
            relative=float((of_differences.sum() / of_values.sum()).sqrt()),
            worst_relative=float(each[worst]),
            worst_sample=self._samples[worst],
            worst_cosine=float(self._worst_cosine),
            tolerance=tolerance,
        )

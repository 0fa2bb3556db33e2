"""The loss of multinomial logistic regression for several C at once, its gradient and a preconditioner.

For n images x_i of class y_i, weights W (classes × D) and intercepts b, it is at the regularisation C_k

    F_k(W, b) = 1/n · Σ_i [log Σ_c exp(w_c·x_i + b_c) − w_{y_i}·x_i − b_{y_i}] + λ_k/2 · ‖W‖²

with λ_k = 1 / (C_k · n). That is scikit-learn's C · Σ_i loss_i + ½ ‖W‖², divided by C · n; intercepts are
not penalised. Of two classes scikit-learn fits the difference w_1 − w_0 alone and penalises that: the same
optimum has λ_k = 2 / (C_k · n) here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch


class LogisticObjective:
    """F_k of features (n, D), floats, and labels (n,) that count from 0, both on one device.

    A point is W with b as its last column, (classes, D + 1), flattened to (P,). b is that of features less
    their mean: so W and b hardly depend on each other, and the optimum is the same. Features are converted to
    `dtype` a block of rows at a time, such that logits (rows, A, classes) of A points fit in `memory` bytes.
    """

    def __init__(
        self,
        features: torch.Tensor,
        labels: torch.Tensor,
        cs: Sequence[float],
        *,
        memory: int,
        dtype: torch.dtype,
    ) -> None:
        self.features, self.labels, self.memory = features, labels, memory
        self.shape = int(labels.max()) + 1, features.shape[1] + 1
        """(classes, D + 1)."""
        strength = (2 if self.shape[0] == 2 else 1) / len(features)
        self.penalties = strength / torch.tensor(cs, dtype=dtype, device=features.device)
        self.mean = features.new_zeros(features.shape[1], dtype=dtype)
        self.mean = sum((part.sum(0) for part, _ in self._blocks(0)), self.mean) / len(features)
        products = (part.mT @ part for part, _ in self._blocks(0))
        self.variances, self.axes = torch.linalg.eigh(sum(products, 0 * self.mean) / len(features))

    def __call__(self, points: torch.Tensor, trials: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Points (A, P) for the C numbered (A,) → F_k (A,) and its gradients (A, P)."""
        weight = points.view(-1, self.shape[1])
        losses, gradient = points.new_zeros(len(points)), torch.zeros_like(weight)
        for part, labels in self._blocks(3 * len(weight)):
            logits = torch.addmm(weight[:, -1], part, weight[:, :-1].mT)
            losses += _losses(logits.view(len(part), *points.shape[:1], -1), labels)
            gradient[:, :-1].addmm_(logits.mT, part)
            gradient[:, -1] += logits.sum(0)
        gradients = gradient.view(-1, *self.shape) / len(self.features)
        weights = points.view(-1, *self.shape)[..., :-1]
        penalties = self.penalties[trials]
        gradients[..., :-1] += penalties.view(-1, 1, 1) * weights
        penalty = penalties / 2 * weights.square().sum((1, 2))
        return losses / len(self.features) + penalty, gradients.flatten(1)

    def precondition(self, vectors: torch.Tensor, trials: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Nearly the inverse Hessian times each of the vectors (A, P), where F_k has `values` (A,).

        For every class it takes the features' covariance times the mean of p (1 − p) over images and classes,
        plus λ_k. That mean is at most 1 / classes, and twice the loss / classes: where it nears 0, p does or
        nears 1. Without this, a large C on separable classes takes ten times as many steps.
        """
        spread = (2 * values).clamp(max=1).view(-1, 1, 1) / self.shape[0]
        curvature = spread * self.variances.clamp(min=0) + self.penalties[trials].view(-1, 1, 1)
        vector = vectors.view(-1, *self.shape)
        weights = vector[..., :-1] @ self.axes / curvature @ self.axes.mT
        return torch.cat([weights, vector[..., -1:] / spread], dim=2).flatten(1)

    def _blocks(self, values_per_row: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Centred features (rows, D) and their labels; `values_per_row` are computed beside them."""
        bytes_per_row = self.penalties.itemsize * (values_per_row + 2 * self.features.shape[1])
        rows = max(1, self.memory // bytes_per_row)
        for features, labels in zip(self.features.split(rows), self.labels.split(rows), strict=True):
            yield features.to(self.mean.dtype) - self.mean, labels


def _losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Sums over the rows of −log p of their labels, (A,), from logits (rows, A, classes).

    Turns `logits` into the gradient by them: p, less 1 where the class is the label.
    """
    own = labels.view(-1, 1, 1).expand(-1, logits.shape[1], 1)
    logits -= logits.amax(dim=2, keepdim=True)
    own_logits = logits.gather(2, own).squeeze(2)
    total = logits.exp_().sum(dim=2)
    logits /= total.unsqueeze(2)
    logits.scatter_add_(2, own, logits.new_full((1, 1, 1), -1.0).expand(own.shape))
    return (total.log() - own_logits).sum(0)

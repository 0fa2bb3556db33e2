"""Digits as features, and scikit-learn's optimum on them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

Images = tuple[torch.Tensor, torch.Tensor]


@pytest.fixture(scope="session")
def digits() -> Images:
    """600 images of 10 classes as float16 pixels, (600, 64), and their labels."""
    features, labels = load_digits(return_X_y=True)
    return torch.from_numpy(features[:600]).half(), torch.from_numpy(labels[:600])


@pytest.fixture(scope="session")
def optimal_loss() -> Callable[[torch.Tensor, torch.Tensor, float], float]:
    """Of features, labels and C: mean log loss + 1 / (2 C n) · ‖W‖² at scikit-learn's optimum."""

    def loss(features: torch.Tensor, labels: torch.Tensor, c: float) -> float:
        images, own = features.double().numpy(), labels.numpy()
        model = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-12, max_iter=200).fit(images, own)
        logits = model.decision_function(images)
        if logits.ndim == 1:  # of two classes only the difference
            logits = np.stack([np.zeros_like(logits), logits], axis=1)
        chosen = logits[np.arange(len(own)), np.searchsorted(model.classes_, own)]
        losses = np.logaddexp.reduce(logits, axis=1) - chosen
        return float(losses.mean() + (model.coef_**2).sum() / (2 * c * len(own)))

    return loss

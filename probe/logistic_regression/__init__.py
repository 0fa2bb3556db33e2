"""Multinomial logistic regression over a grid of C, solved side by side.

As DINOv2 evaluates features (facebookresearch/dinov2, dinov2/eval/log_regression.py): features as they are,
neither standardised nor divided by their length; 45 values of C; the one that is best on held-out images is
fitted again on all (`probe.closed_form`). `fit_models` gives the models of any C.
"""

from probe.logistic_regression.models import LogisticModels, fit_models

C_GRID = tuple(10 ** (-6 + 11 * step / 44) for step in range(45))
"""DINOv2's: from 1e-6 to 1e5."""

__all__ = ["C_GRID", "LogisticModels", "fit_models"]

"""Multinomial logistic regression over a grid of C, solved side by side.

`logistic_regression` is the whole protocol; `fit_models` gives the models of any C.
"""

from probe.logistic_regression.models import LogisticModels, fit_models
from probe.logistic_regression.protocol import C_GRID, LogisticResult, LogisticScore, logistic_regression

__all__ = ["C_GRID", "LogisticModels", "LogisticResult", "LogisticScore", "fit_models", "logistic_regression"]

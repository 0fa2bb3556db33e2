"""Optimisers of several trials at once: learning rates and weight decays are (K,) vectors.

Every parameter has the trial axis in front, and what a published rule says of a tensor (its norm, its number
of axes) is said of one trial's. Trial k takes the very steps that it takes alone.
"""

from probe.optimizers.adamw import AdamW
from probe.optimizers.clipping import clip_gradients
from probe.optimizers.lars import LARS
from probe.optimizers.optimizer import Optimizer
from probe.optimizers.sgd import SGD

__all__ = ["LARS", "SGD", "AdamW", "Optimizer", "clip_gradients"]

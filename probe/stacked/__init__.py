"""Layers of several trials at once: the first axis of every parameter and buffer is the trial.

A layer is made for one trial, from the random numbers of its own seed, exactly as its plain counterpart in
`torch.nn` is; `stack` joins modules of one architecture, and `select` takes trials out again. Values have the
trial axis in front too, (K, B, …), or (1, B, …) where all trials share them. Nothing mixes trials, so the
gradient of the sum of the trials' losses is each trial's own.
"""

from probe.stacked.attend import attend, attention_weights
from probe.stacked.batch_norm import BatchNorm, TokenBatchNorm
from probe.stacked.classification import classification_losses
from probe.stacked.heads import head_queries, project_heads, projected
from probe.stacked.layer_norm import LayerNorm
from probe.stacked.linear import Linear
from probe.stacked.mlp import MLP
from probe.stacked.trials import num_trials, select, stack, trial_state

__all__ = [
    "MLP",
    "BatchNorm",
    "LayerNorm",
    "Linear",
    "TokenBatchNorm",
    "attend",
    "attention_weights",
    "classification_losses",
    "head_queries",
    "num_trials",
    "project_heads",
    "projected",
    "select",
    "stack",
    "trial_state",
]

"""Stage 2: tokens → trained probes and results.

`build_probe` makes a probe by name (`names`, `families`, `poolings/`). Trials of one probe are stacked
(`stacked/`, `trial_stack`) and take each step together (`optimizers/`); `training` gives every batch to every
stack. `run_fit` is the whole command: `grid` spans the trials, `parts` and `passes` divide them,
`training_pass` trains one part, `selection` chooses, `run_folder` and `checkpoint` keep it.
"""

from probe.fit import run_fit
from probe.names import TokenSet, probe_spec
from probe.options import FitOptions
from probe.probe import Probe, build_probe
from probe.setting import TrainingSetting
from probe.token_inputs import TokenInputs
from probe.training import FedStack, evaluate, train_epoch
from probe.trial_stack import TrialStack

__all__ = [
    "FedStack",
    "FitOptions",
    "Probe",
    "TokenInputs",
    "TokenSet",
    "TrainingSetting",
    "TrialStack",
    "build_probe",
    "evaluate",
    "probe_spec",
    "run_fit",
    "train_epoch",
]

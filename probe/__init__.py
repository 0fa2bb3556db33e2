"""Stage 2: tokens → trained probes and results.

`build_probe` makes a probe by name; `fit` trains any number of them on the same batches; `run_fit` is the
whole command, from options to `runs/<name>/`.
"""

from probe.fit import run_fit
from probe.names import TokenSet, probe_spec
from probe.options import FitOptions
from probe.probe import Probe, build_probe
from probe.token_inputs import TokenInputs
from probe.training import EpochResult, evaluate, fit
from probe.trial import TrainingSetting, Trial

__all__ = [
    "EpochResult",
    "FitOptions",
    "Probe",
    "TokenInputs",
    "TokenSet",
    "TrainingSetting",
    "Trial",
    "build_probe",
    "evaluate",
    "fit",
    "probe_spec",
    "run_fit",
]

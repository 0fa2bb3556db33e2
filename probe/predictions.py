"""What a run keeps of its predictions: the first classes of every evaluation image.

`predictions.safetensors` holds `sample_id` (n,) int64 and `label` (n,) of the measured images, in the split's
order, and under a name for each chosen trial its first five classes, best first, (n, min(5, C)). Labels and
classes are int16, or int32 where there are more classes; −1 stands for no class (k-NN votes for few). The
metadata's `answers` lists, for each answer of `results.json`, the names of its trials.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save, save_file

from cache import SplitReader
from cache.atomic import write_bytes
from configs import UserError
from probe.processes import summed, together

FILE = "predictions.safetensors"
RANKS = 5
_LARGEST_INT16 = 32_767


class FirstClasses:
    """Collects the first classes of K trials as batches come; of several processes, each gives its own."""

    def __init__(self, trials: int, records: int, num_classes: int, device: torch.device) -> None:
        shape = (trials, records, min(RANKS, num_classes))
        self._above = torch.zeros(shape, dtype=_dtype(num_classes), device=device)  # class + 1; 0: not seen

    def add(self, index: torch.Tensor, classes: torch.Tensor) -> None:
        """`classes` (K, B, 5), best first, of the records `index` (B,)."""
        self._above[:, index] = (classes + 1).to(self._above.dtype)

    def here(self) -> torch.Tensor:
        """(K, records, 5) on the CPU, −1 for records that this process did not measure."""
        return (self._above - 1).cpu()

    def whole(self) -> torch.Tensor:
        """The same of all processes together, in every one of them."""
        if together():  # int16 cannot be summed by processes
            self._above = summed(self._above.int()).to(self._above.dtype)
        return self.here()


def _dtype(num_classes: int) -> torch.dtype:
    return torch.int16 if num_classes <= _LARGEST_INT16 else torch.int32


def keep_predictions(folder: Path, part: int, classes: Mapping[str, torch.Tensor]) -> None:
    """Keep the first classes, (records, 5) of each trial of a finished pass, until the end of the run."""
    save_file(
        {trial: found.clone() for trial, found in classes.items()},
        folder / f"predictions-{part:04}.safetensors",
    )


def write_predictions(
    folder: Path,
    split: SplitReader,
    answers: Sequence[Sequence[str]],
    computed: Mapping[str, torch.Tensor],
) -> None:
    """Write the file: of the trials that `answers` name, what passes kept, and what was `computed` otherwise.

    Both are (records, 5), for all records of `split`.
    """
    named = {trial for trials in answers for trial in trials}
    found = {trial: classes for trial, classes in computed.items() if trial in named}
    for path in sorted(folder.glob("predictions-*.safetensors")):
        found |= {trial: classes for trial, classes in load_file(path).items() if trial in named}
    labels = split.whole("labels")
    measured = np.flatnonzero(labels >= 0)
    tensors = {trial: classes[measured].contiguous() for trial, classes in found.items()}
    tensors["sample_id"] = torch.from_numpy(split.whole("sample_id")[measured])
    tensors["label"] = torch.from_numpy(labels[measured]).to(_dtype(len(split.manifest.classes)))
    write_bytes(folder / FILE, save(tensors, {"answers": json.dumps(list(map(list, answers)))}))


@dataclass(frozen=True)
class Predictions:
    """Of a finished run. sample_id (n,), label (n,); for each answer, (n, 5) classes of each trial."""

    sample_id: np.ndarray
    label: np.ndarray
    answers: tuple[tuple[np.ndarray, ...], ...]


def read_predictions(folder: Path) -> Predictions | None:
    """What `write_predictions` wrote, or None where a run kept none (it is older than the file).

    Raises `UserError` where the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, "np") as file:
            names = json.loads(file.metadata()["answers"])
            held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 not a mapping
    except SafetensorError:
        raise UserError(f"{path} is damaged: take it away, and what needs it is left out") from None
    answers = tuple(tuple(held[trial] for trial in trials if trial in held) for trials in names)
    return Predictions(held["sample_id"], held["label"], answers)

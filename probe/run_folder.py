"""`runs/<name>/`: everything a run leaves behind."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import save
from torch.utils.tensorboard import SummaryWriter

from cache.atomic import write_bytes
from configs import UserError
from probe.training import EpochResult
from probe.trial import Trial


@dataclass(frozen=True)
class TrialSummary:
    """One row of `results.csv`. Accuracies in percent, on the evaluation split."""

    probe: str
    parameters: int
    top1_last: float
    top5_last: float
    top1_best: float
    best_epoch: int
    """Chosen by looking at the evaluation split, as the literature does; optimistic."""
    loss: float
    seconds: float
    lr: float
    weight_decay: float
    batch_size: int
    epochs: int
    seed: int
    block: int
    tokens: str


def free_run_name(root: Path, wanted: str) -> str:
    """`wanted` with characters that suit a folder, and a number when there is such a run already."""
    name = re.sub(r"[^\w.+-]+", "_", wanted)
    number = 1
    while (root / (name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return name if number == 1 else f"{name}-{number}"


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """`values` for JSON, which has no NaN or infinity: the loss of a diverged trial becomes null."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }


class RunFolder:
    """Writes a run's files: metrics as they come, the rest at the end.

    Raises `UserError` where the folder exists: no run overwrites another.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            raise UserError(f"{folder} exists: give another --name, or none") from None
        except OSError as error:
            raise UserError(f"cannot make {folder} ({error.strerror}): give another --runs") from None
        self.folder = folder
        self._config = dict(config)
        (folder / "config.yaml").write_text(yaml.safe_dump(self._config, sort_keys=False))
        self._metrics = (folder / "metrics.jsonl").open("w")
        self._board = SummaryWriter(str(folder))

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *error: object) -> None:
        self._metrics.close()
        self._board.close()

    def log(self, result: EpochResult) -> None:
        """Keep one epoch of one trial."""
        self._metrics.write(json.dumps(_plain(asdict(result))) + "\n")
        self._metrics.flush()
        for name in ("loss", "top1", "top5"):
            self._board.add_scalar(f"{name}/{result.probe}", getattr(result, name), result.epoch)

    def finish(self, summaries: Sequence[TrialSummary], trials: Sequence[Trial]) -> None:
        """Write the results and the heads."""
        rows = [_plain(asdict(summary)) for summary in summaries]
        with (self.folder / "results.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        results = {"config": self._config, "trials": rows}
        (self.folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        tensors = {
            f"{trial.name}.{key}": value.cpu().contiguous()
            for trial in trials
            for key, value in trial.probe.state_dict().items()
        }
        metadata = {"config": json.dumps(self._config)}
        write_bytes(self.folder / "head.safetensors", save(tensors, metadata))

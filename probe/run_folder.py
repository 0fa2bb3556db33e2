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

import torch
import yaml
from safetensors.torch import load_file, save, save_file
from torch.utils.tensorboard import SummaryWriter

from cache.atomic import write_bytes
from cache.lock import WriterLock
from configs import UserError
from probe.checkpoint import FILE as CHECKPOINT
from probe.outcome import EpochRow

RESULTS = "results.json"
CONFIG = "config.yaml"


@dataclass(frozen=True)
class RunPlace:
    """A run's folder; `resumed`, the configuration of the run that goes on there from a checkpoint."""

    folder: Path
    resumed: dict[str, Any] | None = None


def find_place(root: Path, name: str | None, default: str, identity: Mapping[str, Any]) -> RunPlace:
    """Where a run goes: on with an unfinished one of the same `identity`, or to a new folder.

    Without `name`, `default` with characters that suit a folder, and a number where that is taken. Raises
    `UserError` where `name` holds another run.
    """
    if name is not None:
        place = _place(root / name, identity)
        if place is None:
            what = "holds a finished run" if (root / name / RESULTS).exists() else "holds another run"
            raise UserError(f"{root / name} {what}: give another --name, or none")
        return place
    base = re.sub(r"[^\w.+-]+", "_", default)[:150]
    number = 1
    while (place := _place(root / (base if number == 1 else f"{base}-{number}"), identity)) is None:
        number += 1
    return place


def _place(folder: Path, identity: Mapping[str, Any]) -> RunPlace | None:
    """The folder, if it is free or holds an unfinished run of this identity."""
    try:
        if not folder.exists():
            return RunPlace(folder)
        if (folder / RESULTS).exists() or not (folder / CONFIG).exists():
            return None
        config = yaml.safe_load((folder / CONFIG).read_text())
    except OSError:  # what may not be read cannot be resumed; making it will say why
        return RunPlace(folder)
    same = all(config.get(key) == _as_read_again(value) for key, value in identity.items())
    if not same:
        return None
    return RunPlace(folder, config if (folder / CHECKPOINT).exists() else None)


def _as_read_again(value: Any) -> Any:
    return yaml.safe_load(yaml.safe_dump(value))


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` for JSON, which has no NaN or infinity: the loss of a diverged trial becomes null."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }


class RunFolder:
    """Writes a run's files: metrics as they come, the rest at the end.

    Raises `UserError` where the folder cannot be made, or another process is at it.
    """

    def __init__(self, place: RunPlace, config: Mapping[str, Any]) -> None:
        self.folder = place.folder
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make {self.folder} ({error.strerror}): give another --runs") from None
        self._lock = WriterLock(self.folder)
        self._lock.__enter__()
        self._config = dict(config)
        if place.resumed is None:
            write_bytes(self.folder / CONFIG, yaml.safe_dump(self._config, sort_keys=False).encode())
        # a run that goes on logs its earlier epochs again: those after the checkpoint are not kept
        self._metrics = (self.folder / "metrics.jsonl").open("w")
        for path in self.folder.glob("events.out.tfevents.*"):
            path.unlink()
        self._board = SummaryWriter(str(self.folder))

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *error: object) -> None:
        self._metrics.close()
        self._board.close()
        self._lock.__exit__(*error)

    def log(self, rows: Sequence[EpochRow]) -> None:
        """Keep rows of an epoch."""
        for row in rows:
            found = {name: value for name, value in _plain(asdict(row)).items() if value is not None}
            self._metrics.write(json.dumps(found) + "\n")
            for name in set(found) - {"trial", "epoch"}:
                self._board.add_scalar(f"{name}/{row.trial}", found[name], row.epoch)
        self._metrics.flush()

    def keep_heads(self, part: int, heads: Mapping[str, torch.Tensor]) -> None:
        """Keep the heads of a finished pass until the end."""
        save_file({key: tensor.contiguous() for key, tensor in heads.items()}, self._heads(part))

    def _heads(self, part: int) -> Path:
        return self.folder / f"heads-{part:04}.safetensors"

    def finish(
        self, rows: Sequence[Mapping[str, Any]], answers: Sequence[Mapping[str, Any]], heads: Sequence[str]
    ) -> None:
        """Write the results, and the heads of the trials named `heads`; the run is finished then."""
        self._write_heads(heads)
        plain = [_plain(row) for row in rows]
        with (self.folder / "results.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(plain[0]))
            writer.writeheader()
            writer.writerows(plain)
        results = {"config": self._config, "answers": [_plain(row) for row in answers], "trials": plain}
        write_bytes(self.folder / RESULTS, (json.dumps(results, indent=1) + "\n").encode())
        for path in [*self.folder.glob("heads-*.safetensors"), self.folder / CHECKPOINT]:
            path.unlink(missing_ok=True)

    def _write_heads(self, trials: Sequence[str]) -> None:
        tensors: dict[str, torch.Tensor] = {}
        for path in sorted(self.folder.glob("heads-*.safetensors")):
            held = load_file(path)
            tensors |= {key: held[key] for key in held if key.rpartition("/")[0] in trials}
        if tensors:
            metadata = {"config": json.dumps(self._config)}
            write_bytes(self.folder / "head.safetensors", save(tensors, metadata))

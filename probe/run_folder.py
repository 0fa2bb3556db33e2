"""`runs/<name>/`: everything a run leaves behind."""

from __future__ import annotations

import csv
import errno
import json
import math
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file, save

from cache.atomic import write_bytes
from cache.lock import LOCK, WriterLock
from configs import UserError
from probe.checkpoint import FILE as CHECKPOINT
from probe.outcome import EpochRow
from probe.tracking import RunTrackers

RESULTS = "results.json"
CONFIG = "config.yaml"
METRICS = "metrics.jsonl"
HEAD = "head.safetensors"
PAGE = "report.html"
EVENTS = "events.out.tfevents."

NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


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
            raise UserError(f"{root / name} {_held(root / name)}: give another --name, or none")
        return place
    base = re.sub(r"[^\w.+-]+", "_", default)[:150]
    number = 1
    while (place := _place(root / (base if number == 1 else f"{base}-{number}"), identity)) is None:
        number += 1
    return place


def _held(folder: Path) -> str:
    if not (folder / CONFIG).exists():
        return "is no run"
    return "holds a finished run" if (folder / RESULTS).exists() else "holds another run"


def _begun(folder: Path) -> bool:
    """Whether there is anything to lose: a run that was refused early leaves its configuration alone."""
    if not folder.is_dir():
        return True
    held = {path.name for path in folder.iterdir() if not path.name.startswith(EVENTS)}
    if held - {LOCK, CONFIG, METRICS} or (METRICS in held and (folder / METRICS).stat().st_size):
        return True
    try:
        with WriterLock(folder):
            return False
    except UserError:  # another process has just begun
        return True


def _place(folder: Path, identity: Mapping[str, Any]) -> RunPlace | None:
    """The folder, if it is free or holds an unfinished run of this identity."""
    try:
        if not folder.exists() or not _begun(folder):
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


@contextmanager
def telling_how_to_go_on(folder: Path) -> Iterator[None]:
    """After Ctrl-C, what the run's folder holds says what becomes of it.

    Raises `UserError` where the disk is full.
    """
    try:
        yield
    except KeyboardInterrupt:
        if (folder / RESULTS).exists():
            then = f"the run is finished, its results are in {folder}"
        elif (folder / CHECKPOINT).exists():
            then = "the same command goes on from the last checkpoint"
        else:
            then = "there is no checkpoint yet, the same command begins again"
        raise KeyboardInterrupt(f"interrupted: {then}") from None
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        raise UserError(
            f"cannot write {folder} ({os.strerror(error.errno)}): make room, and the same command goes on"
        ) from None


def _as_read_again(value: Any) -> Any:
    return yaml.safe_load(yaml.safe_dump(value))


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` for JSON, which has no NaN or infinity: the loss of a diverged trial becomes null."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }


def _logged(metrics: Path) -> set[tuple[str, int]]:
    """Trials' epochs of a run that was stopped; its last line may be torn."""
    found = set()
    with suppress(OSError, ValueError, KeyError):
        for line in metrics.read_text().splitlines():
            row = json.loads(line)
            found.add((row["trial"], row["epoch"]))
    return found


class RunFolder:
    """Writes a run's files: metrics as they come, the rest at the end.

    Raises `UserError` where the folder cannot be made, or another process is at it.
    """

    def __init__(
        self,
        place: RunPlace,
        config: Mapping[str, Any],
        track: Collection[str] = ("tensorboard",),
        *,
        quiet: bool = False,
    ) -> None:
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
        logged = _logged(self.folder / METRICS)
        self._logged: set[tuple[str, int]] = set()
        self._metrics = (self.folder / METRICS).open("w")
        for path in self.folder.glob(f"{EVENTS}*"):
            path.unlink()
        try:
            self._trackers = RunTrackers(
                track, self.folder, config, resumed=place.resumed is not None, known=logged, quiet=quiet
            )
        except UserError:
            self._metrics.close()
            self._lock.__exit__()
            raise
        self._finished = False

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *error: object) -> None:
        self._metrics.close()
        self._trackers.close(stopped=not self._finished)
        self._lock.__exit__(*error)

    def log(self, rows: Sequence[EpochRow]) -> None:
        """Keep rows of an epoch, but for those kept already: a pass that is divided begins again."""
        new = [row for row in rows if (row.trial, row.epoch) not in self._logged]
        self._logged |= {(row.trial, row.epoch) for row in new}
        found = [{k: v for k, v in _plain(asdict(row)).items() if v is not None} for row in new]
        self._metrics.writelines(json.dumps(row) + "\n" for row in found)
        self._metrics.flush()
        self._trackers.log(found)

    def keep_heads(self, part: int, heads: Mapping[str, torch.Tensor]) -> None:
        """Keep the heads of a finished pass until the end."""
        write_bytes(self._heads(part), save({key: tensor.contiguous() for key, tensor in heads.items()}))

    def _heads(self, part: int) -> Path:
        return self.folder / f"heads-{part:04}.safetensors"

    def finish(
        self, rows: Sequence[Mapping[str, Any]], answers: Sequence[Mapping[str, Any]], heads: Sequence[str]
    ) -> None:
        """Write the results, and the heads of the trials named `heads`; the run is finished then."""
        plain = [_plain(row) for row in rows]
        self._write_heads(heads, plain)
        with (self.folder / "results.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(plain[0]))
            writer.writeheader()
            writer.writerows(plain)
        results = {"config": self._config, "answers": [_plain(row) for row in answers], "trials": plain}
        write_bytes(self.folder / RESULTS, (json.dumps(results, indent=1) + "\n").encode())
        self._trackers.finish([_plain(row) for row in answers], max(row.get("epochs") or 0 for row in plain))
        self._finished = True
        kept = (self.folder.glob(f"{part}-*.safetensors") for part in ("heads", "predictions"))
        for path in [*chain(*kept), self.folder / CHECKPOINT]:
            path.unlink(missing_ok=True)

    def _write_heads(self, trials: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
        tensors: dict[str, torch.Tensor] = {}
        for path in sorted(self.folder.glob("heads-*.safetensors")):
            held = load_file(path)
            tensors |= {key: held[key] for key in held if key.rpartition("/")[0] in trials}
        if tensors:
            own = [row for row in rows if row["trial"] in trials]
            metadata = {"config": json.dumps(self._config), "trials": json.dumps(own)}
            write_bytes(self.folder / HEAD, save(tensors, metadata))

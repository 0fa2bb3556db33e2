"""Learning curves elsewhere: TensorBoard, Weights & Biases and MLflow, by accelerate's trackers."""

from __future__ import annotations

import json
import os
import re
import sys
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelerate.tracking import MLflowTracker, TensorBoardTracker, WandBTracker

from cache.atomic import write_bytes
from configs import UserError

TRACKERS = ("tensorboard", "wandb", "mlflow")

PROJECT = "frozen-tokens"
"""W&B's project and MLflow's experiment, unless WANDB_PROJECT or MLFLOW_EXPERIMENT_NAME name another."""

RUN_IDS = "trackers.json"
"""Tracker → the id of this run there, by which a stopped run goes on in the same curves."""

MOST_VALUES = 500
"""That one message holds: MLflow refuses more than 1000."""

LONGEST_LIST = 20

QUESTION = ("blocks", "tokens", "shots", "fraction", "setting")
"""What answers of one probe may differ in."""

Row = Mapping[str, Any]
"""Of an epoch of a trial: `trial`, `epoch` and numbers."""


def require_trackers(names: Collection[str]) -> None:
    """Raise `UserError` where a tracker's package is not installed."""
    for name in names:
        if find_spec(name) is None:
            raise UserError(f"--track {name}: {name} is not installed; pip install 'frozen-tokens[trackers]'")


@dataclass
class _Tracker:
    name: str
    tracker: Any
    """accelerate's."""
    known: Collection[tuple[str, int]] = field(default=())
    """Trials' epochs that it has from before the run was stopped; it keeps what it was given."""

    def log(self, rows: Sequence[Row]) -> None:
        epochs: dict[int, dict[str, float]] = {}
        for row in rows:
            if (row["trial"], row["epoch"]) not in self.known:
                numbers = {f"{key}/{row['trial']}": row[key] for key in row if key not in ("trial", "epoch")}
                epochs.setdefault(row["epoch"], {}).update(numbers)
        for epoch, values in epochs.items():
            self.log_values(values, epoch)

    def log_values(self, values: Mapping[str, float], epoch: int) -> None:
        pairs = list(values.items())
        for first in range(0, len(pairs), MOST_VALUES):
            part = dict(pairs[first : first + MOST_VALUES])
            if self.name == "wandb":  # its own steps only grow, and every pass begins with epoch 1
                self.tracker.log(part | {"epoch": epoch})
            elif self.name == "mlflow":
                self.tracker.log({_mlflow_name(key): value for key, value in part.items()}, step=epoch)
            else:
                self.tracker.log(part, step=epoch)

    def close(self, *, stopped: bool) -> None:
        if stopped and self.name == "wandb":
            self.tracker.tracker.finish(exit_code=1)
        elif stopped and self.name == "mlflow":
            import mlflow

            mlflow.end_run(status="KILLED")
        else:
            self.tracker.finish()


class RunTrackers:
    """The trackers of a run. Only the first of several processes has them.

    `known` are the trials' epochs that were logged before the run was stopped; `resumed` says that it was.
    Raises `UserError` where a tracker does not start. One that fails later is left out, and the run goes on.
    """

    def __init__(
        self,
        names: Collection[str],
        folder: Path,
        config: Mapping[str, Any],
        *,
        resumed: bool,
        known: Collection[tuple[str, int]] = (),
        quiet: bool = False,
    ) -> None:
        self._trackers: list[_Tracker] = []
        ids = _run_ids(folder) if resumed else {}
        for name in names:
            try:
                tracker = _started(name, folder, ids, quiet=quiet)
                if name == "tensorboard":
                    _tensorboard_hyperparameters(tracker, config)
                elif name not in ids:
                    tracker.store_init_configuration(flat(config))
            except Exception as error:  # whatever a service's own package raises
                self.close(stopped=True)
                raise UserError(f"--track {name}: {_first_line(error)}") from None
            self._trackers.append(_Tracker(name, tracker, known if name in ids else ()))
            if name != "tensorboard":
                ids[name] = _id_of(name, tracker)
        if ids:
            write_bytes(folder / RUN_IDS, (json.dumps(ids) + "\n").encode())

    def log(self, rows: Sequence[Row]) -> None:
        """Keep rows of epochs; numbers that are not finite have been left out."""
        self._tell(lambda one: one.log(rows))

    def finish(self, answers: Sequence[Row], epoch: int) -> None:
        """Keep the run's answers, as `answer_top1/PROBE`."""
        values = {
            f"answer_top1/{name}": row["top1"] for name, row in zip(_names(answers), answers, strict=True)
        }
        self._tell(lambda one: one.log_values(values, epoch))

    def close(self, *, stopped: bool) -> None:
        """Let all of them finish; `stopped` tells them that the run did not."""
        self._tell(lambda one: one.close(stopped=stopped))
        self._trackers.clear()

    def _tell(self, call: Callable[[_Tracker], None]) -> None:
        for one in tuple(self._trackers):
            try:
                call(one)
            except Exception as error:  # a service that does not answer must not end the run
                self._trackers.remove(one)
                said = f"probe: --track {one.name} failed, the run goes on without it: {_first_line(error)}"
                print(said, file=sys.stderr, flush=True)


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str | float | bool]:
    """The configuration as hyperparameters: `options.lr`; lists as words, long ones by their length."""
    found: dict[str, str | float | bool] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            words = ",".join(map(str, value))
            found[prefix + key] = words if len(value) <= LONGEST_LIST else f"{len(value)} values"
        elif value is not None:
            found[prefix + key] = value if isinstance(value, str | float | int) else str(value)
    return found


def _run_ids(folder: Path) -> dict[str, str]:
    with suppress(OSError, ValueError):
        found: dict[str, str] = json.loads((folder / RUN_IDS).read_text())
        return found
    return {}


def _started(name: str, folder: Path, ids: Mapping[str, str], *, quiet: bool) -> Any:
    tracker: Any
    if name == "tensorboard":
        tracker = TensorBoardTracker(folder.name, folder.parent)
    elif name == "wandb":
        tracker = WandBTracker(
            os.environ.get("WANDB_PROJECT", PROJECT),
            name=folder.name,
            dir=str(folder),
            id=ids.get(name, uuid.uuid4().hex),
            resume="allow",
            settings={"silent": quiet, "console": "off"},  # it would record every state of the progress bar
        )
    else:
        place = None if "MLFLOW_TRACKING_URI" in os.environ else _local_mlflow(folder.parent)
        tracker = MLflowTracker(PROJECT, place, run_id=ids.get(name), run_name=folder.name)
    tracker.start()
    if name == "wandb":
        tracker.tracker.define_metric("epoch")
        tracker.tracker.define_metric("*", step_metric="epoch")
    return tracker


def _local_mlflow(runs: Path) -> str:
    """Let MLflow keep what it is told in `mlflow.db` beside the runs; the folder of its other files."""
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{runs.resolve() / 'mlflow.db'}")
    return (runs.resolve() / "mlflow-artifacts").as_uri()


def _id_of(name: str, tracker: Any) -> str:
    found: str = tracker.tracker.id if name == "wandb" else tracker.tracker.info.run_id
    return found


def _tensorboard_hyperparameters(tracker: Any, config: Mapping[str, Any]) -> None:
    """accelerate's own way would add a folder with the time in its name, and a second events file."""
    from torch.utils.tensorboard.summary import hparams  # slow to import: only where curves go there

    for summary in hparams(flat(config), {}):
        tracker.tracker.file_writer.add_summary(summary)


def _mlflow_name(name: str) -> str:
    """MLflow refuses the signs of `ep32[lr=0.1]/…` and `ep32+cls/…`."""
    return re.sub(r"[^\w./ -]+", "_", name).strip("_")


def _names(answers: Sequence[Row]) -> list[str]:
    """The probe of each answer, with what they differ in; with the setting only where nothing else tells."""
    for last in ("fraction", "setting"):
        fields = QUESTION[: QUESTION.index(last) + 1]
        differing = [name for name in fields if len({str(answer.get(name)) for answer in answers}) > 1]
        names = [
            answer["probe"]
            + (f"[{','.join(f'{name}={answer[name]}' for name in differing)}]" if differing else "")
            for answer in answers
        ]
        if len(set(names)) == len(names):
            break
    return names


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)

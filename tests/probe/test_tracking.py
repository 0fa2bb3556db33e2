"""Learning curves in TensorBoard, W&B and MLflow. The last two are stood in for by what records calls."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from configs import UserError
from probe import tracking
from probe.options import FitOptions
from probe.outcome import EpochRow
from probe.run_folder import RunFolder, RunPlace
from probe.tracking import flat, require_trackers

CONFIG = {"options": {"lr": [0.1, 0.2], "recipe": "fast", "name": None}, "classes": ["ant"] * 30}
ROW = EpochRow("ep4[lr=0.1]", 1, 0.5, None, None, 80.0, 95.0, 1000.0)
ANSWER = {"probe": "ep4", "blocks": [3], "top1": 90.0, "setting": "lr=0.1"}
RESULT = {"trial": "ep4", "epochs": 2}

Calls = list[tuple[str, Any]]


class FakeTracker:
    """accelerate's interface, and what of its services' own objects is used."""

    def __init__(self, calls: Calls, given: Mapping[str, Any]) -> None:
        self.calls = calls
        given_id = given.get("id") or given.get("run_id") or "new"
        own = {
            "id": given_id,
            "info": SimpleNamespace(run_id=given_id),
            "define_metric": lambda *_, **__: None,
        }
        self.tracker = SimpleNamespace(**own, finish=lambda exit_code: calls.append(("stopped", exit_code)))

    def start(self) -> None:
        pass

    def store_init_configuration(self, values: Mapping[str, Any]) -> None:
        self.calls.append(("config", dict(values)))

    def log(self, values: Mapping[str, float], step: int | None = None) -> None:
        self.calls.append(("log", (step, dict(values))))

    def finish(self) -> None:
        self.calls.append(("finished", None))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What W&B and MLflow are told."""
    found: Calls = []

    def make(*arguments: Any, **named: Any) -> FakeTracker:
        found.append(("start", named))
        return FakeTracker(found, named)

    mlflow = ModuleType("mlflow")
    mlflow.set_tracking_uri = lambda uri: found.append(("uri", uri))  # type: ignore[attr-defined]
    mlflow.end_run = lambda status: found.append(("stopped", status))  # type: ignore[attr-defined]
    mlflow.__spec__ = ModuleSpec("mlflow", None)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(tracking, "WandBTracker", make)
    monkeypatch.setattr(tracking, "MLflowTracker", make)
    return found


def named(calls: Calls, kind: str) -> list[Any]:
    return [value for name, value in calls if name == kind]


def run(place: RunPlace, track: Sequence[str], epochs: Sequence[int], *, finish: bool = True) -> None:
    with RunFolder(place, CONFIG, track) as folder:
        for epoch in epochs:
            folder.log([replace(ROW, epoch=epoch)])
        if finish:
            folder.finish([RESULT], [ANSWER], [])


def test_tensorboard_gets_curves_hyperparameters_and_answers_in_one_file(tmp_path: Path) -> None:
    run(RunPlace(tmp_path / "run"), ("tensorboard",), (1, 2))
    assert len(list((tmp_path / "run").glob("events.out.tfevents.*"))) == 1
    assert [path for path in (tmp_path / "run").iterdir() if path.is_dir()] == []
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    assert [event.step for event in events.Scalars("top1/ep4[lr=0.1]")] == [1, 2]
    assert [(e.step, e.value) for e in events.Scalars("answer_top1/ep4")] == [(2, 90.0)]
    assert "_hparams_/session_start_info" in events.summary_metadata


def test_a_run_without_trackers_leaves_no_events(tmp_path: Path) -> None:
    run(RunPlace(tmp_path / "run"), (), (1,))
    assert sorted(path.name for path in (tmp_path / "run").iterdir() if path.name[0] != ".") == [
        *("config.yaml", "metrics.jsonl", "results.csv", "results.json")
    ]


def test_the_configuration_is_flat_and_short() -> None:
    assert flat(CONFIG) == {"options.lr": "0.1,0.2", "options.recipe": "fast", "classes": "30 values"}


@pytest.mark.parametrize("tracker", ["wandb", "mlflow"])
def test_a_tracker_gets_the_configuration_every_epoch_and_the_end(
    calls: Calls, tmp_path: Path, tracker: str
) -> None:
    run(RunPlace(tmp_path / "run"), (tracker,), (1, 2))
    assert named(calls, "config") == [flat(CONFIG)]
    epochs = [step if tracker == "mlflow" else values["epoch"] for step, values in named(calls, "log")]
    assert epochs == [1, 2, 2]  # the answers last
    assert calls[-1] == ("finished", None)


def test_wandb_is_given_no_step_since_its_own_cannot_go_back(calls: Calls, tmp_path: Path) -> None:
    run(RunPlace(tmp_path / "run"), ("wandb",), (2, 1))
    assert [step for step, _ in named(calls, "log")] == [None] * 3  # the answers last


def test_mlflow_gets_names_that_it_allows(calls: Calls, tmp_path: Path) -> None:
    run(RunPlace(tmp_path / "run"), ("mlflow",), (1,))
    names = {name for _, values in named(calls, "log") for name in values}
    assert "top1/ep4_lr_0.1" in names
    assert not any(set(name) & set("[]=+,") for name in names)


def test_mlflow_keeps_its_database_beside_the_runs_unless_told_otherwise(
    calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(RunPlace(tmp_path / "run"), ("mlflow",), (1,))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    run(RunPlace(tmp_path / "other"), ("mlflow",), (1,))
    assert named(calls, "uri") == [f"sqlite:///{tmp_path / 'mlflow.db'}"]


@pytest.mark.parametrize(("tracker", "how"), [("wandb", 1), ("mlflow", "KILLED")])
def test_a_tracker_is_told_when_a_run_is_stopped(
    calls: Calls, tmp_path: Path, tracker: str, how: object
) -> None:
    with pytest.raises(KeyboardInterrupt), RunFolder(RunPlace(tmp_path / "run"), CONFIG, (tracker,)):
        raise KeyboardInterrupt
    assert calls[-1] == ("stopped", how)


@pytest.mark.parametrize(("tracker", "field"), [("wandb", "id"), ("mlflow", "run_id")])
def test_a_run_that_goes_on_does_so_in_the_same_curves_and_logs_no_epoch_twice(
    calls: Calls, tmp_path: Path, tracker: str, field: str
) -> None:
    run(RunPlace(tmp_path / "run"), (tracker,), (1, 2, 3), finish=False)
    first = json.loads((tmp_path / "run" / "trackers.json").read_text())[tracker]
    calls.clear()
    run(RunPlace(tmp_path / "run", resumed=CONFIG), (tracker,), (1, 2, 3, 4))  # the checkpoint is of epoch 2
    assert named(calls, "start")[0][field] == first
    assert named(calls, "config") == []
    assert len(named(calls, "log")) == 2  # epoch 4, and the answers


def test_a_tracker_that_comes_later_gets_the_earlier_epochs_too(calls: Calls, tmp_path: Path) -> None:
    run(RunPlace(tmp_path / "run"), ("tensorboard",), (1, 2), finish=False)
    run(RunPlace(tmp_path / "run", resumed=CONFIG), ("wandb",), (1, 2, 3))
    assert [values["epoch"] for _, values in named(calls, "log")][:3] == [1, 2, 3]


def test_a_tracker_that_does_not_start_is_one_line_and_frees_the_folder(
    calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: FakeTracker) -> None:
        raise RuntimeError("no API key\nlook at https://…")

    with monkeypatch.context() as patched:
        patched.setattr(FakeTracker, "start", refuse)
        with pytest.raises(UserError, match=r"^--track wandb: no API key$"):
            RunFolder(RunPlace(tmp_path / "run"), CONFIG, ("wandb",))
    run(RunPlace(tmp_path / "run"), (), (1,))


def test_a_tracker_that_fails_later_is_left_out_and_the_run_goes_on(
    calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("no answer")

    monkeypatch.setattr(FakeTracker, "log", fail)
    run(RunPlace(tmp_path / "run"), ("wandb",), (1, 2))
    said = "probe: --track wandb failed, the run goes on without it: no answer\n"
    assert capsys.readouterr().err == said
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2


def test_a_missing_package_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"--track wandb: wandb is not installed; pip install .*\[trackers\]"):
        require_trackers(("wandb",))


@pytest.mark.parametrize(
    ("given", "kept"), [(("none",), ()), ((), ()), (("wandb", "tensorboard"), ("wandb", "tensorboard"))]
)
def test_none_is_no_tracker(given: tuple[str, ...], kept: tuple[str, ...]) -> None:
    assert FitOptions(cache=Path("any"), track=given).track == kept

"""The folder that a run leaves behind."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from configs import UserError
from probe import EpochResult, TrainingSetting, Trial
from probe.run_folder import RunFolder, TrialSummary, free_run_name

SUMMARY = TrialSummary(
    probe="ep4",
    parameters=270,
    top1_last=90.0,
    top5_last=99.0,
    top1_best=92.5,
    best_epoch=3,
    loss=0.25,
    seconds=1.5,
    lr=0.002,
    weight_decay=0.0,
    batch_size=8,
    epochs=4,
    seed=0,
    block=3,
    tokens="pre",
)


@pytest.fixture
def trial(setting: Callable[..., TrainingSetting], toy_trials: Callable[..., list[Trial]]) -> Trial:
    return toy_trials(setting(), "ep4")[0]


def test_a_free_name_is_kept(tmp_path: Path) -> None:
    assert free_run_name(tmp_path, "toy-animals-ep32+cls-fast") == "toy-animals-ep32+cls-fast"


def test_a_name_in_use_gets_the_next_number(tmp_path: Path) -> None:
    for taken in ("run", "run-2", "run-4"):
        (tmp_path / taken).mkdir()
    assert free_run_name(tmp_path, "run") == "run-3"


def test_characters_that_do_not_suit_a_folder_are_replaced(tmp_path: Path) -> None:
    assert free_run_name(tmp_path, "a b/c:d") == "a_b_c_d"


def test_a_folder_that_exists_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text("kept")
    with pytest.raises(UserError, match="run exists: give another --name, or none"):
        RunFolder(tmp_path / "run", {})
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == "kept"


def test_the_configuration_stands_from_the_start(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "runs" / "run", {"block": 3, "classes": ["ant", "café"]}):
        found = yaml.safe_load((tmp_path / "runs" / "run" / "config.yaml").read_text())
    assert found == {"block": 3, "classes": ["ant", "café"]}


def test_an_epoch_is_on_disk_as_soon_as_it_is_logged(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run", {}) as folder:
        folder.log(EpochResult("ep4", 1, 0.5, 80.0, 95.0, 1000.0))
        lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"probe": "ep4", "epoch": 1, "loss": 0.5, "top1": 80.0, "top5": 95.0, "images_per_second": 1000.0}
    ]


def test_what_was_logged_outlives_an_interruption(tmp_path: Path) -> None:
    def interrupted() -> None:
        with RunFolder(tmp_path / "run", {}) as folder:
            folder.log(EpochResult("ep4", 1, 0.5, 80.0, 95.0, 1000.0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 1
    assert not (tmp_path / "run" / "results.json").exists()


def test_tensorboard_shows_every_epoch(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run", {}) as folder:
        for epoch, loss in ((1, 0.5), (2, 0.25)):
            folder.log(EpochResult("ep4", epoch, loss, 80.0 + epoch, 95.0, 1000.0))
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss/ep4")] == [(1, 0.5), (2, 0.25)]
    assert [(e.step, e.value) for e in events.Scalars("top1/ep4")] == [(1, 81.0), (2, 82.0)]
    assert [(e.step, e.value) for e in events.Scalars("top5/ep4")] == [(1, 95.0), (2, 95.0)]


def test_results_csv_has_one_row_for_each_trial(tmp_path: Path, trial: Trial) -> None:
    with RunFolder(tmp_path / "run", {}) as folder:
        folder.finish([SUMMARY], [trial])
    with (tmp_path / "run" / "results.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row == {key: str(value) for key, value in vars(SUMMARY).items()}


def test_results_json_has_the_configuration_and_the_rows(tmp_path: Path, trial: Trial) -> None:
    with RunFolder(tmp_path / "run", {"block": 3}) as folder:
        folder.finish([SUMMARY], [trial])
    found = json.loads((tmp_path / "run" / "results.json").read_text())
    assert found == {"config": {"block": 3}, "trials": [vars(SUMMARY)]}


def test_heads_are_stored_under_the_name_of_their_probe(tmp_path: Path, trial: Trial) -> None:
    with RunFolder(tmp_path / "run", {}) as folder:
        folder.finish([SUMMARY], [trial])
    tensors = load_file(tmp_path / "run" / "head.safetensors")
    expected = {f"ep4.{key}": value for key, value in trial.probe.state_dict().items()}
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[key], value) for key, value in expected.items())


def test_heads_carry_the_configuration(tmp_path: Path, trial: Trial) -> None:
    with RunFolder(tmp_path / "run", {"block": 3}) as folder:
        folder.finish([SUMMARY], [trial])
    with safe_open(tmp_path / "run" / "head.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["config"]) == {"block": 3}

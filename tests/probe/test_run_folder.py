"""The folder that a run leaves behind."""

from __future__ import annotations

import csv
import errno
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from configs import UserError
from probe.outcome import EpochRow
from probe.run_folder import RunFolder, RunPlace, find_place, telling_how_to_go_on

EPOCH = EpochRow("ep4", 1, 0.5, None, None, 80.0, 95.0, 1000.0)
ROW = {"trial": "ep4", "parameters": 270, "top1_last": 90.0, "held_out_top1": None, "chosen": True}
ANSWER = {"probe": "ep4", "blocks": [3], "top1": 90.0, "top1_deviation": None}
HEADS = {
    "ep4[lr=0.1]/queries": torch.arange(6.0).view(2, 3),
    "ep4[lr=0.1]/classifier.bias": torch.ones(4),
    "ep4[lr=0.2]/queries": torch.zeros(2, 3),
    "ep4[lr=0.2]/classifier.bias": torch.zeros(4),
}
HOLD = """
import fcntl, sys
file = open(sys.argv[1], "a+")
fcntl.lockf(file, fcntl.LOCK_EX, 1, 0)
file.write("4711")
file.flush()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def place(tmp_path: Path) -> RunPlace:
    return RunPlace(tmp_path / "run")


def finished(place: RunPlace, config: dict[str, object]) -> Path:
    with RunFolder(place, config) as folder:
        folder.keep_heads(0, HEADS)
        folder.finish([ROW], [ANSWER], ["ep4[lr=0.1]"])
    return place.folder


def test_a_free_name_is_kept(tmp_path: Path) -> None:
    name = "toy-animals-ep32+cls-fast"
    assert find_place(tmp_path, None, name, {}) == RunPlace(tmp_path / name)


def test_a_name_in_use_gets_the_next_number(tmp_path: Path) -> None:
    for taken in ("run", "run-2", "run-4"):
        (tmp_path / taken).mkdir()
        (tmp_path / taken / "results.json").touch()
    assert find_place(tmp_path, None, "run", {}) == RunPlace(tmp_path / "run-3")


def test_an_empty_folder_is_free(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert find_place(tmp_path, "run", "default", {}) == RunPlace(tmp_path / "run")


def test_a_run_that_was_refused_before_its_first_epoch_does_not_keep_its_name(
    tmp_path: Path, place: RunPlace
) -> None:
    RunFolder(place, {"lr": 0.1}).__exit__()
    assert find_place(tmp_path, "run", "default", {"lr": 0.2}) == RunPlace(tmp_path / "run")


def test_a_run_that_another_process_has_just_begun_keeps_its_name(tmp_path: Path, place: RunPlace) -> None:
    RunFolder(place, {"lr": 0.1}).__exit__()
    command = [sys.executable, "-c", HOLD, str(place.folder / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = find_place(tmp_path, None, "run", {"lr": 0.2})
        process.communicate("")
    assert found == RunPlace(tmp_path / "run-2")


def test_a_full_disk_stops_a_run_in_one_line(tmp_path: Path) -> None:
    line = r"cannot write .*run \(No space left on device\): make room, and the same command goes on"
    with pytest.raises(UserError, match=line), telling_how_to_go_on(tmp_path / "run"):
        raise OSError(errno.ENOSPC, "as the system says it")


def test_another_error_of_the_system_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), telling_how_to_go_on(tmp_path / "run"):
        raise FileNotFoundError(errno.ENOENT, "as the system says it")


def test_characters_that_do_not_suit_a_folder_are_replaced(tmp_path: Path) -> None:
    assert find_place(tmp_path, None, "a b/c:d", {}) == RunPlace(tmp_path / "a_b_c_d")


def test_a_name_that_is_asked_for_is_taken_as_it_is(tmp_path: Path) -> None:
    assert find_place(tmp_path, "my run: 1", "run", {}) == RunPlace(tmp_path / "my run: 1")


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text("kept")
    with pytest.raises(UserError, match="run is no run: give another --name, or none"):
        find_place(tmp_path, "run", "default", {})
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == "kept"


def test_a_finished_run_is_not_gone_on_with(tmp_path: Path, place: RunPlace) -> None:
    finished(place, {"block": 3})
    with pytest.raises(UserError, match="run holds a finished run: give another --name, or none"):
        find_place(tmp_path, "run", "default", {"block": 3})
    assert find_place(tmp_path, None, "run", {"block": 3}) == RunPlace(tmp_path / "run-2")


@pytest.mark.parametrize("name", ["run", None])
def test_an_unfinished_run_of_the_same_identity_is_gone_on_with_from_its_checkpoint(
    tmp_path: Path, place: RunPlace, name: str | None
) -> None:
    config = {"lr": 0.1, "blocks": [3], "tier": "host"}
    RunFolder(place, config).__exit__()
    (place.folder / "checkpoint.safetensors").touch()
    found = find_place(tmp_path, name, "run", {"lr": 0.1, "blocks": [3]})
    assert found == RunPlace(tmp_path / "run", config)


def test_an_unfinished_run_without_a_checkpoint_is_begun_again_in_its_folder(
    tmp_path: Path, place: RunPlace
) -> None:
    RunFolder(place, {"lr": 0.1, "tier": "host"}).__exit__()
    assert find_place(tmp_path, "run", "default", {"lr": 0.1}) == RunPlace(tmp_path / "run")


def test_an_unfinished_run_of_another_identity_is_not_gone_on_with(tmp_path: Path, place: RunPlace) -> None:
    with RunFolder(place, {"lr": 0.1}) as folder:
        folder.log([EPOCH])
    assert find_place(tmp_path, None, "run", {"lr": 0.2}) == RunPlace(tmp_path / "run-2")
    with pytest.raises(UserError, match="run holds another run: give another --name, or none"):
        find_place(tmp_path, "run", "default", {"lr": 0.2})


@pytest.mark.parametrize("name", ["run", None])
def test_every_name_is_free_in_a_folder_that_may_not_be_searched(closed: Path, name: str | None) -> None:
    assert find_place(closed, name, "run", {}) == RunPlace(closed / "run")


@pytest.mark.parametrize("name", ["run", "runs/run"])
def test_a_folder_that_may_not_be_written_is_refused_in_a_line(closed: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"cannot make .*run \(Permission denied\): give another --runs"):
        RunFolder(RunPlace(closed / name), {})


def test_a_folder_below_a_file_is_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match=r"cannot make .*run \(Not a directory\): give another --runs"):
        RunFolder(RunPlace(tmp_path / "notes.txt" / "run"), {})


def test_a_run_that_another_process_is_at_is_refused_and_left_alone(place: RunPlace) -> None:
    RunFolder(place, {"lr": 0.1}).__exit__()
    (place.folder / "metrics.jsonl").write_text("kept")
    command = [sys.executable, "-c", HOLD, place.folder / ".lock"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match="run is being written by process 4711"):
            RunFolder(replace(place, resumed={"lr": 0.1}), {"lr": 0.1})
        other.communicate()
    assert (place.folder / "metrics.jsonl").read_text() == "kept"


def test_the_configuration_stands_from_the_start(tmp_path: Path) -> None:
    place = RunPlace(tmp_path / "runs" / "run")
    with RunFolder(place, {"block": 3, "classes": ["ant", "café"]}):
        found = yaml.safe_load((place.folder / "config.yaml").read_text())
    assert found == {"block": 3, "classes": ["ant", "café"]}


def test_an_epoch_is_on_disk_as_soon_as_it_is_logged(place: RunPlace) -> None:
    with RunFolder(place, {}) as folder:
        folder.log([EPOCH, replace(EPOCH, trial="lp", held_out_top1=70.0, top1=None, top5=None)])
        lines = (place.folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"trial": "ep4", "epoch": 1, "loss": 0.5, "top1": 80.0, "top5": 95.0, "images_per_second": 1000.0},
        {"trial": "lp", "epoch": 1, "loss": 0.5, "held_out_top1": 70.0, "images_per_second": 1000.0},
    ]


def test_what_was_logged_outlives_an_interruption(place: RunPlace) -> None:
    def interrupted() -> None:
        with RunFolder(place, {}) as folder:
            folder.log([EPOCH])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len((place.folder / "metrics.jsonl").read_text().splitlines()) == 1
    assert not (place.folder / "results.json").exists()


def test_tensorboard_shows_every_epoch(place: RunPlace) -> None:
    with RunFolder(place, {}) as folder:
        for epoch, loss in ((1, 0.5), (2, 0.25)):
            folder.log([replace(EPOCH, trial="ep4[lr=0.1]", epoch=epoch, loss=loss, top1=80.0 + epoch)])
    events = EventAccumulator(str(place.folder)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss/ep4[lr=0.1]")] == [(1, 0.5), (2, 0.25)]
    assert [(e.step, e.value) for e in events.Scalars("top1/ep4[lr=0.1]")] == [(1, 81.0), (2, 82.0)]
    assert [(e.step, e.value) for e in events.Scalars("top5/ep4[lr=0.1]")] == [(1, 95.0), (2, 95.0)]


def test_epochs_after_the_checkpoint_are_not_kept_twice(place: RunPlace) -> None:
    with RunFolder(place, {}) as folder:
        for epoch in (1, 2, 3):
            folder.log([replace(EPOCH, epoch=epoch)])
    with RunFolder(replace(place, resumed={}), {}) as folder:
        folder.log([replace(EPOCH, epoch=1)])
        folder.log([replace(EPOCH, epoch=2, loss=0.125)])
    events = EventAccumulator(str(place.folder)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss/ep4")] == [(1, 0.5), (2, 0.125)]
    lines = [json.loads(line) for line in (place.folder / "metrics.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["loss"]) for line in lines] == [(1, 0.5), (2, 0.125)]


def test_results_csv_has_one_row_for_each_trial(place: RunPlace) -> None:
    with (finished(place, {}) / "results.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row == {key: "" if value is None else str(value) for key, value in ROW.items()}


def test_results_json_has_the_configuration_the_answers_and_the_rows(place: RunPlace) -> None:
    found = json.loads((finished(place, {"block": 3}) / "results.json").read_text())
    assert found == {"config": {"block": 3}, "answers": [ANSWER], "trials": [ROW]}


def test_numbers_of_a_diverged_trial_are_null(place: RunPlace) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    with RunFolder(place, {}) as folder:
        folder.log([replace(EPOCH, loss=math.nan)])
        folder.finish([ROW | {"loss": math.inf}], [ANSWER], [])
    (line,) = (place.folder / "metrics.jsonl").read_text().splitlines()
    assert "loss" not in json.loads(line, parse_constant=refuse)
    found = json.loads((place.folder / "results.json").read_text(), parse_constant=refuse)
    assert found["trials"][0]["loss"] is None


def test_the_heads_of_chosen_trials_are_stored_under_their_names(place: RunPlace) -> None:
    tensors = load_file(finished(place, {}) / "head.safetensors")
    expected = {key: value for key, value in HEADS.items() if key.startswith("ep4[lr=0.1]/")}
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[key], value) for key, value in expected.items())


def test_the_heads_of_every_pass_are_stored(place: RunPlace) -> None:
    with RunFolder(place, {}) as folder:
        for part, trial in enumerate(("lp", "ep4")):
            folder.keep_heads(part, {f"{trial}/classifier.bias": torch.full((2,), float(part))})
        folder.finish([ROW], [ANSWER], ["lp", "ep4"])
    tensors = load_file(place.folder / "head.safetensors")
    assert {key: value.tolist() for key, value in tensors.items()} == {
        "lp/classifier.bias": [0, 0],
        "ep4/classifier.bias": [1, 1],
    }


def test_heads_carry_the_configuration(place: RunPlace) -> None:
    with safe_open(finished(place, {"block": 3}) / "head.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["config"]) == {"block": 3}


def test_a_finished_run_leaves_nothing_of_the_way_there(place: RunPlace) -> None:
    with RunFolder(place, {}) as folder:
        (place.folder / "checkpoint.safetensors").touch()
        folder.keep_heads(0, HEADS)
        folder.finish([ROW], [ANSWER], ["ep4[lr=0.1]"])
    found = {path.name for path in place.folder.iterdir() if "tfevents" not in path.name}
    assert found == {
        "config.yaml", "metrics.jsonl", "results.csv", "results.json", "head.safetensors", ".lock",
    }  # fmt: skip

"""A killed run goes on where it was, to the same numbers; anything else does not."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from configs import UserError
from probe import FitOptions, checkpoint, fit, run_fit
from probe.checkpoint import Checkpoint
from probe.cost import probe_cost
from probe.split_batches import SplitBatches
from probe.trial_run import TrialRun
from probe.trial_stack import TrialStack

MakeOptions = Callable[..., FitOptions]

SWEEPS: dict[str, dict[str, Any]] = {
    "one pass": {"probe": ("lp", "ep4"), "lr": (0.01, 0.03), "seed": (0, 1), "epochs": 4},
    "pruned": {"probe": ("lp", "ep4"), "lr": (0.003, 0.01, 0.03, 0.1), "prune": True, "epochs": 8},
    "blocks": {"probe": ("lp",), "block": ("1", "3"), "seed": (0, 1), "epochs": 3},
    "shots": {"probe": ("lp_mean",), "shots": (3,), "draws": 2, "lr": (0.01, 0.03), "epochs": 3},
}
MOMENTS = [(name, epoch) for name, sweep in SWEEPS.items() for epoch in range(1, sweep["epochs"])]


class Killed(BaseException):
    """Stands for what ends a process."""


@pytest.fixture(scope="module")
def store(make_store: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Blocks 1 and 3."""
    return make_store(tmp_path_factory.mktemp("stores") / "deep", blocks=(1, 3))


@pytest.fixture(autouse=True)
def _every_epoch_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "COST_SHARE", float("inf"))


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run until `calls` calls of a method are done, and die."""

    def run(options: FitOptions, owner: type, method: str, calls: int) -> None:
        original, done = getattr(owner, method), 0

        def counted(*arguments: Any, **named: Any) -> Any:
            nonlocal done
            found = original(*arguments, **named)
            done += 1
            if done == calls:
                raise Killed
            return found

        with monkeypatch.context() as patched:
            patched.setattr(owner, method, counted)
            with pytest.raises(Killed):
                run_fit(options)

    return run


def _without_time(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: row[key] for key in row if key not in ("seconds", "images_per_second")} for row in rows]


def _metrics(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return sorted(_without_time(rows), key=lambda row: (row["trial"], row["epoch"]))


def _assert_same_run(found: Path, wanted: Path) -> None:
    """Results, metrics and heads to the last bit; no trace of a run on its way."""
    one, other = (json.loads((folder / "results.json").read_text()) for folder in (found, wanted))
    assert one["answers"] == other["answers"]
    assert _without_time(one["trials"]) == _without_time(other["trials"])
    assert _metrics(found) == _metrics(wanted)
    heads, others = (load_file(folder / "head.safetensors") for folder in (found, wanted))
    assert heads.keys() == others.keys()
    assert all(torch.equal(heads[key], others[key]) for key in others)
    kept, others = ((folder / "predictions.safetensors").read_bytes() for folder in (found, wanted))
    assert kept == others
    names, others = (
        {path.name for path in folder.iterdir() if "tfevents" not in path.name} for folder in (found, wanted)
    )
    assert names == others
    on_its_way = ("checkpoint", "heads-", "predictions-")
    assert not [name for name in names if name.startswith(on_its_way) or name.endswith(".tmp")]


@pytest.fixture(scope="module")
def whole(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a sweep that nothing stopped."""
    runs = tmp_path_factory.mktemp("whole")

    def finished(sweep: str) -> Path:
        if not (runs / sweep).exists():
            run_fit(_options(store, runs, SWEEPS[sweep], name=sweep))
        return runs / sweep

    return finished


def _options(store: Path, runs: Path, sweep: dict[str, Any], **changes: Any) -> FitOptions:
    usual = {"cache": store, "recipe": "fast", "device": "cpu", "runs": runs, "report": False, **sweep}
    return FitOptions(**{**usual, **changes})


@pytest.mark.parametrize(("sweep", "epoch"), MOMENTS)
def test_a_sweep_killed_after_an_epoch_ends_in_the_same_numbers(
    sweep: str, epoch: int, store: Path, tmp_path: Path, whole: Callable[[str], Path], killed: Any
) -> None:
    options = _options(store, tmp_path, SWEEPS[sweep], name="run")
    killed(options, Checkpoint, "save_when_due", epoch)
    run_fit(options)
    _assert_same_run(tmp_path / "run", whole(sweep))


@pytest.mark.parametrize("steps", [1, 20, 40])
def test_a_sweep_killed_within_an_epoch_goes_on_at_its_start(
    steps: int, store: Path, tmp_path: Path, whole: Callable[[str], Path], killed: Any
) -> None:
    options = _options(store, tmp_path, SWEEPS["one pass"], name="run")
    killed(options, TrialStack, "step", steps)
    run_fit(options)
    _assert_same_run(tmp_path / "run", whole("one pass"))


def test_epochs_that_are_finished_are_not_trained_again(
    store: Path, tmp_path: Path, killed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = _options(store, tmp_path, SWEEPS["one pass"], name="run")
    killed(options, Checkpoint, "save_when_due", 3)
    asked: list[int] = []
    epoch = SplitBatches.epoch

    def noted(batches: SplitBatches, number: int) -> SplitBatches:
        asked.append(number)
        return epoch(batches, number)

    monkeypatch.setattr(SplitBatches, "epoch", noted)
    run_fit(options)
    assert asked == [3]


def test_a_run_that_was_killed_again_and_again_ends_in_the_same_numbers(
    store: Path, tmp_path: Path, whole: Callable[[str], Path], killed: Any
) -> None:
    options = _options(store, tmp_path, SWEEPS["pruned"], name="run")
    for _ in range(4):
        killed(options, Checkpoint, "save_when_due", 1)
        killed(options, TrialStack, "step", 5)
    run_fit(options)
    _assert_same_run(tmp_path / "run", whole("pruned"))


def test_what_killed_it_while_the_results_were_written_costs_no_training(
    store: Path, tmp_path: Path, whole: Callable[[str], Path], killed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = _options(store, tmp_path, SWEEPS["blocks"], name="run")
    killed(options, fit.RunFolder, "_write_heads", 1)
    monkeypatch.setattr(TrialStack, "step", lambda *_: pytest.fail("everything is trained already"))
    run_fit(options)
    _assert_same_run(tmp_path / "run", whole("blocks"))


LARGE_SWEEP: dict[str, Any] = {"probe": ("ep4",), "lr": (0.003, 0.01, 0.03, 0.1), "epochs": 3}


@pytest.fixture
def memory(store: Path) -> int:
    """Enough for two trials of the sweep at a time: 4 tensors, and a step on 8 images."""
    cost = probe_cost("ep4", 12, 6, (2, 3))
    return 2 * (4 * 4 * cost.parameters + 2 * cost.activation_bytes * 8)


@pytest.fixture(params=[1, 2, 3, 4, 5])
def epochs_before(request: pytest.FixtureRequest) -> int:
    """Epochs of both passes together after which the sweep is killed."""
    found: int = request.param
    return found


def test_memory_divides_a_sweep_and_it_says_so(
    store: Path, tmp_path: Path, memory: int, capsys: pytest.CaptureFixture[str]
) -> None:
    run_fit(_options(store, tmp_path, LARGE_SWEEP, training_memory=memory))
    assert "4 trials in 2 passes" in capsys.readouterr().err


def test_passes_give_the_numbers_of_one(store: Path, tmp_path: Path, memory: int) -> None:
    run_fit(_options(store, tmp_path, LARGE_SWEEP, name="one"))
    run_fit(_options(store, tmp_path, LARGE_SWEEP, name="two", training_memory=memory))
    one, two = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("one", "two"))
    for found, wanted in zip(two["trials"], one["trials"], strict=True):
        assert found["trial"] == wanted["trial"]
        assert found["loss"] == pytest.approx(wanted["loss"], rel=1e-4)


def test_a_sweep_killed_in_any_pass_ends_in_the_same_numbers(
    store: Path, tmp_path: Path, memory: int, epochs_before: int, killed: Any
) -> None:
    changes = {"training_memory": memory}
    run_fit(_options(store, tmp_path, LARGE_SWEEP, name="whole", **changes))
    options = _options(store, tmp_path, LARGE_SWEEP, name="run", **changes)
    killed(options, TrialRun, "_after_epoch", epochs_before)
    run_fit(options)
    _assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_passes_stay_as_they_are_when_other_memory_is_free(
    store: Path, tmp_path: Path, memory: int, killed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_fit(_options(store, tmp_path, LARGE_SWEEP, name="whole", training_memory=memory))
    options = _options(store, tmp_path, LARGE_SWEEP, name="run")
    monkeypatch.setattr(fit, "training_memory", lambda device: memory)
    killed(options, TrialRun, "_after_epoch", 4)
    monkeypatch.setattr(fit, "training_memory", lambda device: 10 * memory)
    run_fit(options)
    _assert_same_run(tmp_path / "run", tmp_path / "whole")


KILL_ITSELF = """
    import os, signal, sys
    from pathlib import Path
    from probe import FitOptions, run_fit
    from probe.checkpoint import Checkpoint

    def save(self, progress, tensors, original=Checkpoint.save):
        original(self, progress, tensors)
        if progress.epochs == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    Checkpoint.save = save
    Checkpoint.save_when_due = lambda self, progress, tensors: self.save(progress, tensors())
    run_fit(FitOptions.model_validate_json(sys.argv[1]))
"""


def test_a_process_that_is_killed_leaves_a_run_that_goes_on(
    store: Path, tmp_path: Path, whole: Callable[[str], Path]
) -> None:
    options = _options(store, tmp_path, SWEEPS["one pass"], name="run")
    words = [sys.executable, "-c", textwrap.dedent(KILL_ITSELF), options.model_dump_json()]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    run_fit(options)
    _assert_same_run(tmp_path / "run", whole("one pass"))


def test_without_a_name_the_same_command_goes_on_too(
    store: Path, tmp_path: Path, whole: Callable[[str], Path], killed: Any
) -> None:
    options = _options(store, tmp_path, SWEEPS["one pass"])
    killed(options, Checkpoint, "save_when_due", 2)
    run_fit(options)
    (folder,) = tmp_path.iterdir()
    _assert_same_run(folder, whole("one pass"))


def test_a_run_killed_before_its_first_checkpoint_starts_again(
    store: Path, tmp_path: Path, whole: Callable[[str], Path], killed: Any
) -> None:
    options = _options(store, tmp_path, SWEEPS["one pass"], name="run")
    killed(options, TrialStack, "step", 3)
    assert not (tmp_path / "run" / checkpoint.FILE).exists()
    run_fit(options)
    _assert_same_run(tmp_path / "run", whole("one pass"))


def test_a_run_that_goes_on_says_where(
    store: Path, tmp_path: Path, killed: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    options = _options(store, tmp_path, SWEEPS["one pass"], name="run")
    killed(options, Checkpoint, "save_when_due", 2)
    capsys.readouterr()
    run_fit(options)
    assert f"going on with {tmp_path / 'run'}: pass 1 of 1, after epoch 2" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_refused_in_a_line(store: Path, tmp_path: Path, killed: Any) -> None:
    options = _options(store, tmp_path, SWEEPS["one pass"], name="run")
    killed(options, Checkpoint, "save_when_due", 2)
    path = tmp_path / "run" / checkpoint.FILE
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UserError, match="is damaged: remove it, and the run begins again"):
        run_fit(options)
    path.unlink()
    run_fit(options)


@pytest.mark.parametrize(
    "changes",
    [
        {"lr": (0.01, 0.02)},
        {"seed": (0, 2)},
        {"epochs": 5},
        {"batch_size": 10},
        {"order_seed": 1},
        {"held_out": 0.2},
        {"block": ("1",)},
        {"tokens": ("post",)},
        {"every_epoch": True},
    ],
    ids=str,
)
def test_another_configuration_does_not_go_on(
    changes: dict[str, Any], store: Path, tmp_path: Path, killed: Any
) -> None:
    killed(_options(store, tmp_path, SWEEPS["one pass"], name="run"), Checkpoint, "save_when_due", 2)
    with pytest.raises(UserError, match="run holds another run: give another --name, or none"):
        run_fit(_options(store, tmp_path, SWEEPS["one pass"], name="run", **changes))


@pytest.mark.parametrize("changes", [{"tier": "stream", "memory": 10**7}, {"verify": True}], ids=str)
def test_where_tokens_are_read_from_does_not_make_another_run(
    changes: dict[str, Any], store: Path, tmp_path: Path, whole: Callable[[str], Path], killed: Any
) -> None:
    killed(_options(store, tmp_path, SWEEPS["one pass"], name="run"), Checkpoint, "save_when_due", 2)
    run_fit(_options(store, tmp_path, SWEEPS["one pass"], name="run", **changes))
    _assert_same_run(tmp_path / "run", whole("one pass"))


def test_a_store_of_other_data_does_not_go_on(
    make_store: Callable[..., Path], tmp_path: Path, killed: Any
) -> None:
    store = make_store(tmp_path / "store")
    options = _options(store, tmp_path / "runs", SWEEPS["one pass"], name="run")
    killed(options, Checkpoint, "save_when_due", 2)
    store.rename(tmp_path / "before")
    make_store(store, splits={"validation": 60, "train": 120})  # `make_store` numbers the fingerprints
    with pytest.raises(UserError, match="run holds another run"):
        run_fit(options)


def test_a_finished_run_is_not_written_over(store: Path, tmp_path: Path) -> None:
    options = _options(store, tmp_path, {"epochs": 1, "probe": ("lp",)}, name="run")
    run_fit(options)
    before = (tmp_path / "run" / "results.json").read_bytes()
    with pytest.raises(UserError, match="run holds a finished run: give another --name, or none"):
        run_fit(options)
    assert (tmp_path / "run" / "results.json").read_bytes() == before


@pytest.fixture
def lock() -> Iterator[Callable[[Path], int]]:
    """Hold a run's lock in another process; its id."""
    context = multiprocessing.get_context("fork")
    holders = []

    def hold(folder: Path) -> int:
        receive, send = context.Pipe(duplex=False)

        def wait() -> None:
            with (folder / ".lock").open("a+") as file:
                fcntl.lockf(file, fcntl.LOCK_EX, 1, 0)
                file.write(str(os.getpid()))
                file.flush()
                send.send(os.getpid())
                signal.pause()

        holder = context.Process(target=wait)
        holder.start()
        holders.append(holder)
        assert receive.poll(30)
        found: int = receive.recv()
        return found

    yield hold
    for holder in holders:
        holder.kill()
        holder.join()


def test_a_run_that_another_process_is_at_is_refused(
    store: Path, tmp_path: Path, killed: Any, lock: Callable[[Path], int]
) -> None:
    options = _options(store, tmp_path, SWEEPS["one pass"], name="run")
    killed(options, Checkpoint, "save_when_due", 2)
    metrics = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    holder = lock(tmp_path / "run")
    with pytest.raises(UserError, match=f"run is being written by process {holder}"):
        run_fit(options)
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == metrics


@pytest.mark.parametrize("sweep", SWEEPS)
def test_metrics_hold_each_epoch_of_each_trial_once(
    sweep: str, store: Path, tmp_path: Path, killed: Any
) -> None:
    options = _options(store, tmp_path, SWEEPS[sweep], name="run")
    killed(options, Checkpoint, "save_when_due", 2)
    run_fit(options)
    rows = [(row["trial"], row["epoch"]) for row in _metrics(tmp_path / "run")]
    trials = json.loads((tmp_path / "run" / "results.json").read_text())["trials"]
    assert rows == sorted((t["trial"], epoch) for t in trials for epoch in range(1, t["epochs"] + 1))

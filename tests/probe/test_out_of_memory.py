"""A sweep that the device's memory does not hold is divided; it never dies of it."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cache import Store
from configs import UserError
from probe import FitOptions, checkpoint, fit, parts, run_fit
from probe.fused import check
from probe.fused.blocks import Blocks, blocks_for
from probe.trial_run import TrialRun
from probe.trial_stack import TrialStack

SWEEP = {
    "probe": ("ep4",),
    "lr": (0.003, 0.01, 0.03, 0.1, 0.3),
    "epochs": 3,
    "recipe": "fast",
    "device": "cpu",
}


class Killed(BaseException):
    """Stands for what ends a process."""


@pytest.fixture(scope="module")
def store(make_store: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("stores") / "small")


@pytest.fixture
def device_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the device have memory for so many trials and no more."""

    def limit(trials: int) -> None:
        step = TrialStack.step

        def limited(stack: TrialStack, *batch: torch.Tensor) -> torch.Tensor:
            if len(stack) > trials:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return step(stack, *batch)

        monkeypatch.setattr(TrialStack, "step", limited)

    return limit


def options(store: Path, runs: Path, **changes: Any) -> FitOptions:
    return FitOptions(**{**SWEEP, "report": False, "device": "cpu", "cache": store, "runs": runs, **changes})


def results(folder: Path) -> list[dict[str, Any]]:
    """Of every trial."""
    found: list[dict[str, Any]] = json.loads((folder / "results.json").read_text())["trials"]
    return found


def assert_same_numbers(found: Path, wanted: Path) -> None:
    for one, other in zip(results(found), results(wanted), strict=True):
        assert one["trial"] == other["trial"]
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)


def test_a_sweep_is_divided_until_it_fits_and_says_so(
    store: Path, tmp_path: Path, device_of: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    run_fit(options(store, tmp_path, name="whole"))
    device_of(2)
    run_fit(options(store, tmp_path, name="divided"))
    said = capsys.readouterr().err
    assert "no memory on cpu for 5 trials at once: this pass is divided in two, 2 passes in all" in said
    assert "no memory on cpu for 3 trials at once: this pass is divided in two, 3 passes in all" in said
    assert_same_numbers(tmp_path / "divided", tmp_path / "whole")


def test_a_divided_sweep_that_is_killed_goes_on(
    store: Path, tmp_path: Path, device_of: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "COST_SHARE", float("inf"))
    device_of(2)
    run_fit(options(store, tmp_path, name="whole"))
    calls = 0
    after_epoch = TrialRun._after_epoch

    def dying(*arguments: Any) -> None:
        nonlocal calls
        after_epoch(*arguments)
        calls += 1
        if calls == 4:  # in the second of three passes
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(TrialRun, "_after_epoch", dying)
        with pytest.raises(Killed):
            run_fit(options(store, tmp_path, name="killed"))
    run_fit(options(store, tmp_path, name="killed"))
    assert_same_numbers(tmp_path / "killed", tmp_path / "whole")


def test_epochs_before_a_pass_was_divided_are_kept_once(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, calls = TrialStack.step, 0

    def fragmented(stack: TrialStack, *batch: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += len(stack) == 2
        if len(stack) == 2 and calls > 20:  # in the second epoch
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(stack, *batch)

    monkeypatch.setattr(TrialStack, "step", fragmented)
    run_fit(options(store, tmp_path, name="run", lr=(0.01, 0.1)))
    assert calls == 21
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    epochs = [(row["trial"], row["epoch"]) for row in map(json.loads, lines)]
    assert len(epochs) == len(set(epochs)) == 2 * 3


def test_one_trial_that_does_not_fit_is_refused(
    store: Path, tmp_path: Path, device_of: Callable[[int], None]
) -> None:
    device_of(0)
    with pytest.raises(UserError, match="no memory for one trial of ep4: give a smaller --batch-size"):
        run_fit(options(store, tmp_path))


def test_trials_are_planned_beside_tokens_on_the_device(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, ...]] = []
    monkeypatch.setattr(fit, "training_memory", lambda _, *tokens: asked.append(tokens) or 10**9)
    run_fit(options(store, tmp_path, name="run", tier="device"))
    (nothing, (tokens,)) = asked
    assert nothing == ()
    opened = Store(store)
    ((name, splits),) = opened.splits().items()
    records = sum(opened.split(name, split).manifest.records for split in splits)
    assert tokens == records * 6 * 12 * 2  # tokens of a record, their width, bytes of float16


def test_a_library_without_memory_divides_a_pass_too(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step = TrialStack.step

    def limited(stack: TrialStack, *batch: Any, **images: Any) -> torch.Tensor:
        if len(stack) > 3:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        return step(stack, *batch, **images)

    monkeypatch.setattr(TrialStack, "step", limited)
    run_fit(options(store, tmp_path))
    assert "this pass is divided in two, 2 passes in all" in capsys.readouterr().err


def test_another_error_ends_a_run(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(stack: TrialStack, *batch: Any, **images: Any) -> torch.Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(TrialStack, "step", wrong)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        run_fit(options(store, tmp_path))


def test_between_passes_nothing_is_left_of_a_stack_when_memory_is_given_back(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: weakref.WeakSet[TrialStack] = weakref.WeakSet()
    step, left = TrialStack.step, []

    def watched(stack: TrialStack, *batch: Any, **images: Any) -> torch.Tensor:
        alive.add(stack)
        return step(stack, *batch, **images)

    monkeypatch.setattr(TrialStack, "step", watched)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: left.append(len(alive)))
    monkeypatch.setattr(parts, "plan_passes", lambda items, sizes, memory: [[item] for item in items])
    run_fit(options(store, tmp_path, lr=(0.01, 0.1), epochs=1))
    assert left == [0, 0]


@pytest.fixture
def kernel() -> Iterator[check.Variant]:
    """What a fused kernel is checked for, once."""
    blocks = blocks_for(192, 4, 1, torch.float16)
    assert isinstance(blocks, Blocks)
    check.computes.cache_clear()
    yield check.Variant(torch.device("cuda"), torch.float16, 192, None, torch.float32, False, blocks, 1)
    check.computes.cache_clear()


def test_a_kernel_for_whose_check_there_was_no_memory_is_checked_again(
    kernel: check.Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> float:
        raise RuntimeError("Triton Error [CUDA]: out of memory")

    monkeypatch.setattr(check, "_error", full)
    with pytest.raises(RuntimeError, match="out of memory"):
        check.computes(kernel)
    monkeypatch.setattr(check, "_error", lambda *_: 0.0)
    assert check.computes(kernel)

"""Dividing trials into passes that memory holds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from configs import UserError
from probe import passes
from probe.cost import ProbeCost
from probe.passes import plan_passes, training_memory, trial_bytes

SIZES = st.lists(st.integers(0, 50), min_size=1, max_size=40)


@given(SIZES, st.integers(50, 200))
def test_every_item_is_in_one_pass(sizes: list[int], memory: int) -> None:
    found = plan_passes(range(len(sizes)), sizes, memory)
    assert sorted(item for one in found for item in one) == list(range(len(sizes)))


@given(SIZES, st.integers(50, 200))
def test_no_pass_needs_more_than_the_memory(sizes: list[int], memory: int) -> None:
    found = plan_passes(range(len(sizes)), sizes, memory)
    assert all(sum(sizes[item] for item in one) <= memory for one in found)


@given(SIZES, st.integers(50, 200))
def test_items_of_a_pass_keep_their_order(sizes: list[int], memory: int) -> None:
    assert all(one == sorted(one) for one in plan_passes(range(len(sizes)), sizes, memory))


@given(SIZES, st.integers(50, 200))
def test_passes_could_not_be_merged(sizes: list[int], memory: int) -> None:
    totals = sorted(sum(sizes[item] for item in one) for one in plan_passes(range(len(sizes)), sizes, memory))
    assert len(totals) == 1 or totals[0] + totals[1] > memory


@given(st.integers(1, 60), st.integers(1, 50), st.integers(50, 200))
def test_items_of_equal_size_need_the_fewest_passes(count: int, size: int, memory: int) -> None:
    found = plan_passes(range(count), [size] * count, memory)
    assert len(found) == -(-count // (memory // size))


def test_items_that_fit_together_are_one_pass() -> None:
    assert plan_passes("abc", [30, 30, 40], 100) == [["a", "b", "c"]]


def test_an_item_larger_than_the_memory_is_refused() -> None:
    with pytest.raises(UserError, match=r"one trial needs 2\.0 kB of memory and 1\.0 kB are allowed"):
        plan_passes("ab", [10, 2000], 1000)


@pytest.mark.parametrize(("optimizer", "tensors"), [("sgd", 3), ("lars", 3), ("adamw", 4)])
def test_a_trial_needs_its_parameters_gradients_and_optimiser_state_and_a_step(
    recipe: object, optimizer: str, tensors: int
) -> None:
    cost = ProbeCost(parameters=1000, gflops=0.0, activation_bytes=500)
    needed = trial_bytes(cost, recipe(optimizer=optimizer), batch=16)  # type: ignore[operator]
    assert needed == 4 * tensors * 1000 + 2 * 500 * 16


def test_trials_get_half_of_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "free_host_memory", lambda: 1000)
    assert training_memory(torch.device("cpu")) == 500


def test_tokens_on_the_device_leave_trials_half_of_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "free_device_memory", lambda device: 1000)
    assert training_memory(torch.device("cuda"), tokens=700) == 150

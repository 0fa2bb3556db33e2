"""A stack's start and its steps. That a trial is the same inside a stack is `test_stack_exactness`'s."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cache import TokenBatch
from probe import FedStack, TrainingSetting, TrialStack, build_probe

MakeSetting = Callable[..., TrainingSetting]
MakeStacks = Callable[..., list[FedStack]]
MakeBatches = Callable[..., list[tuple[TokenBatch, ...]]]


@pytest.fixture
def patches(toy_batches: MakeBatches) -> tuple[torch.Tensor, torch.Tensor]:
    """Twenty images' patches and labels."""
    (batch,) = toy_batches(seed=1)[0]
    assert batch.patches is not None
    return batch.patches, batch.labels


def bias_after_a_step(setting: TrainingSetting) -> tuple[torch.Tensor, torch.Tensor]:
    """The classifier's bias (C,) before and after one step in which only it has a gradient."""
    stack = TrialStack("lp", 12, 6, [setting], torch.device("cpu"))
    bias = stack.probe.classifier.bias
    assert bias is not None
    before = bias.detach().clone()[0]
    stack.step(torch.zeros(6, 12), torch.zeros(6, dtype=torch.long))  # batch norm gives 0
    return before, bias.detach()[0]


def test_making_a_stack_leaves_the_random_state_alone(setting: MakeSetting, toy_stacks: MakeStacks) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    toy_stacks([setting(seed=9)], "ep4")
    assert torch.equal(torch.rand(3), expected)


def test_a_probe_starts_as_one_that_is_built_from_its_seed(setting: MakeSetting) -> None:
    stack = TrialStack("ep4", 12, 6, [setting(seed=4), setting(seed=9)], torch.device("cpu"))
    torch.manual_seed(9)
    alone = build_probe("ep4", 12, 6).state_dict()
    assert all(torch.equal(stack.head(1)[name], tensor[0]) for name, tensor in alone.items())


def test_the_recipe_may_state_the_classifiers_start(setting: MakeSetting) -> None:
    stack = TrialStack("lp", 256, 500, [setting(classifier_std=0.01)], torch.device("cpu"))
    weight = stack.probe.classifier.weight.detach()
    assert weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert weight.abs().max().item() > 0.03  # a normal distribution, not a uniform one


def test_the_first_step_of_a_warm_up_changes_no_parameter(
    setting: MakeSetting, toy_stacks: MakeStacks, patches: tuple[torch.Tensor, torch.Tensor]
) -> None:
    (fed,) = toy_stacks([setting(warmup_epochs=1.0)], "ep4")
    before = [parameter.clone() for parameter in fed.stack.probe.parameters()]
    fed.stack.step(*patches)
    assert all(map(torch.equal, before, fed.stack.probe.parameters()))


def test_a_step_returns_each_trials_loss_before_it(
    setting: MakeSetting, toy_stacks: MakeStacks, patches: tuple[torch.Tensor, torch.Tensor]
) -> None:
    (fed,) = toy_stacks([setting(warmup_epochs=0.0, seed=seed) for seed in (0, 1)], "ep4")
    logits = fed.stack.probe.train()(patches[0])
    expected = [torch.nn.functional.cross_entropy(each, patches[1]) for each in logits]
    torch.testing.assert_close(fed.stack.step(*patches), torch.stack(expected).detach())
    assert expected[0] != expected[1]


def test_a_learning_rate_reaches_the_step_through_the_schedule(setting: MakeSetting) -> None:
    # SGD without momentum: the n-th step of a constant gradient is lr · factor · gradient
    chosen = setting(optimizer="sgd", lr=0.5, momentum=0.0, warmup_epochs=1.0, steps_per_epoch=4)
    stack = TrialStack("lp", 12, 6, [chosen], torch.device("cpu"))
    tokens, labels = torch.zeros(6, 12), torch.zeros(6, dtype=torch.long)  # only the bias has a gradient
    bias = stack.probe.classifier.bias
    assert bias is not None
    stack.step(tokens, labels)
    before = bias.detach().clone()
    gradient = torch.softmax(before[0], dim=0) - torch.eye(6)[0]
    stack.step(tokens, labels)
    torch.testing.assert_close(bias.detach()[0], before[0] - 0.5 * 0.25 * gradient)


@pytest.mark.parametrize("decay_vectors", [True, False])
def test_the_recipe_says_whether_biases_decay(setting: MakeSetting, decay_vectors: bool) -> None:
    chosen = setting(
        optimizer="sgd", lr=0.5, weight_decay=0.1, decay_vectors=decay_vectors, warmup_epochs=0.0
    )
    before, after = bias_after_a_step(chosen)
    gradient = torch.softmax(before, dim=0) - torch.eye(6)[0]
    torch.testing.assert_close(after, before - 0.5 * (gradient + 0.1 * decay_vectors * before))


def test_the_recipe_may_clip_the_norm_of_the_gradients(setting: MakeSetting) -> None:
    chosen = setting(optimizer="sgd", lr=0.5, clip_norm=0.01, warmup_epochs=0.0)
    before, after = bias_after_a_step(chosen)
    assert (after - before).norm().item() == pytest.approx(0.5 * 0.01, rel=1e-3)


@pytest.mark.parametrize(
    ("optimizer", "first", "second"),
    [
        ("lars", {"momentum": 0.9}, {"momentum": 0.5}),
        ("sgd", {"momentum": 0.9}, {"momentum": 0.5}),
        ("adamw", {"betas": (0.9, 0.999)}, {"betas": (0.9, 0.9)}),
    ],
)
def test_the_recipes_momentum_reaches_the_optimizer(
    setting: MakeSetting,
    patches: tuple[torch.Tensor, torch.Tensor],
    optimizer: str,
    first: dict[str, object],
    second: dict[str, object],
) -> None:
    found = []
    for changes in (first, second):
        chosen = setting(optimizer=optimizer, warmup_epochs=0.0, **changes)
        stack = TrialStack("ep4", 12, 6, [chosen], torch.device("cpu"))
        for _ in range(3):
            stack.step(*patches)
        found.append(stack.head(0)["classifier.weight"])
    assert not torch.allclose(found[0], found[1])


class Stops(TorchDispatchMode):
    """Counts what a CUDA device's host would wait for: values that are read back, and made from its own."""

    count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        stops = torch.ops.aten._local_scalar_dense.default, torch.ops.aten.lift_fresh.default
        self.count += func in stops
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("optimizer", ["lars", "sgd", "adamw"])
@pytest.mark.parametrize("name", ["lp_mean", "ep4", "mhca4", "aim4", "abmilp"])
def test_a_step_never_makes_the_host_wait_for_the_device(
    name: str,
    optimizer: str,
    setting: MakeSetting,
    toy_stacks: MakeStacks,
    patches: tuple[torch.Tensor, torch.Tensor],
) -> None:
    (fed,) = toy_stacks([setting(optimizer=optimizer, seed=seed) for seed in (0, 1)], name)
    tokens = patches[0].mean(dim=1) if name == "lp_mean" else patches[0]
    fed.stack.step(tokens, patches[1])  # makes the rates of many steps
    with Stops() as stops:
        fed.stack.step(tokens, patches[1])
    assert stops.count == 0

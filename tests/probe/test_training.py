"""Training several probes on the same batches, and measuring them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from cache import FinalNorm, TokenBatch
from probe import FedStack, TokenInputs, TrainingSetting, TrialStack, evaluate, train_epoch

Train = Callable[..., tuple[list[FedStack], list[Any]]]
MakeSetting = Callable[..., TrainingSetting]
MakeStacks = Callable[..., list[FedStack]]
MakeBatches = Callable[..., list[tuple[TokenBatch, ...]]]
Ranking = Callable[..., tuple[float, float]]

CHANCE = 100 / 6
FALLING = [7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]


def weights(fed: FedStack) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in fed.stack.probe.state_dict().items()}


@pytest.fixture
def ranking(setting: MakeSetting) -> Ranking:
    """Evaluate hand-made logits (one list for each image): top-1 and top-5 in percent."""

    def measured(logits: list[list[float]], labels: list[int], batch_sizes: list[int]) -> tuple[float, float]:
        classes = len(logits[0])
        stack = TrialStack("lp", classes, classes, [setting()], torch.device("cpu"))
        assert stack.probe.classifier.bias is not None
        with torch.no_grad():  # the batch norm starts as the identity
            stack.probe.classifier.weight.copy_(torch.eye(classes))
            stack.probe.classifier.bias.zero_()
        parts = zip(
            torch.tensor(labels).split(batch_sizes), torch.tensor(logits).split(batch_sizes), strict=True
        )
        batches = [
            (TokenBatch(part, torch.arange(len(part)), prefix=rows.unsqueeze(1)),) for part, rows in parts
        ]
        ((found,),) = evaluate([FedStack(stack, TokenInputs("pre", None, 0))], batches)
        return found.top1, found.top5

    return measured


@pytest.mark.parametrize("name", ["lp", "lp_mean", "ep4", "ep2_d3", "ep4+cls"])
def test_a_probe_learns_a_separable_toy(train_on_toy: Train, setting: MakeSetting, name: str) -> None:
    _, history = train_on_toy([setting()], name)
    assert history[-1].accuracies[0][0].top1 > 4 * CHANCE
    assert history[-1].losses[0][0] < history[0].losses[0][0]


@pytest.mark.parametrize(("optimizer", "lr"), [("lars", 100.0), ("sgd", 0.1), ("adamw", 0.02)])
def test_every_optimizer_learns_a_separable_toy(
    train_on_toy: Train, setting: MakeSetting, optimizer: str, lr: float
) -> None:
    _, history = train_on_toy([setting(optimizer=optimizer, lr=lr)], "ep4")
    assert history[-1].accuracies[0][0].top1 > 4 * CHANCE


@pytest.mark.parametrize("name", ["lp", "lp_mean", "ep4", "ep4+cls"])
def test_a_stack_does_not_depend_on_the_stacks_beside_it(
    train_on_toy: Train, setting: MakeSetting, name: str
) -> None:
    others = [other for other in ("ep4+cls", "ep2", "lp", "lp_mean", "ep4") if other != name]
    (alone,), alone_history = train_on_toy([setting()], name)
    together, together_history = train_on_toy([setting()], *others[:2], name, *others[2:])
    for own, beside in zip(alone_history, together_history, strict=True):
        assert (own.losses[0], own.accuracies[0]) == (beside.losses[2], beside.accuracies[2])
    assert all(torch.equal(value, weights(together[2])[key]) for key, value in weights(alone).items())


def test_the_same_seed_gives_the_same_numbers(train_on_toy: Train, setting: MakeSetting) -> None:
    (first,), first_history = train_on_toy([setting(seed=3)], "ep4")
    torch.rand(5)  # what else draws random numbers does not matter
    (second,), second_history = train_on_toy([setting(seed=3)], "ep4")
    assert first_history == second_history
    assert all(torch.equal(value, weights(second)[key]) for key, value in weights(first).items())


def test_another_seed_gives_other_numbers(train_on_toy: Train, setting: MakeSetting) -> None:
    _, first = train_on_toy([setting(seed=3)], "ep4")
    _, second = train_on_toy([setting(seed=4)], "ep4")
    assert first[0].losses != second[0].losses


def test_measuring_changes_nothing_of_a_stack(
    setting: MakeSetting, toy_stacks: MakeStacks, toy_batches: MakeBatches
) -> None:
    (fed,) = toy_stacks([setting()], "ep4")
    before = weights(fed)
    evaluate([fed], toy_batches(seed=1))
    assert all(torch.equal(value, before[key]) for key, value in weights(fed).items())


def test_stacks_read_the_tokens_of_their_own_inputs(
    setting: MakeSetting, toy_batches: MakeBatches, final_norm: FinalNorm
) -> None:
    inputs = [TokenInputs("pre", None, 0), TokenInputs("post", final_norm, 0), TokenInputs("pre", None, 1)]
    stacks = [TrialStack("lp", 12, 6, [setting()], torch.device("cpu")) for _ in inputs]
    (batch,) = toy_batches(seed=1, number=1)
    losses = train_epoch([FedStack(s, i) for s, i in zip(stacks, inputs, strict=True)], [batch]).losses
    for found, own in zip(losses, inputs, strict=True):
        fresh = TrialStack("lp", 12, 6, [setting()], torch.device("cpu"))
        tokens = own.select(batch, {"cls"})["cls"]
        assert found == fresh.step(tokens, batch[0].labels).tolist()


def test_tokens_that_several_stacks_read_are_made_once(
    setting: MakeSetting,
    toy_stacks: MakeStacks,
    toy_batches: MakeBatches,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[set[str]] = []
    select = TokenInputs.select

    def noted(self: TokenInputs, blocks: Any, token_sets: Any) -> Any:
        asked.append(set(token_sets))
        return select(self, blocks, token_sets)

    monkeypatch.setattr(TokenInputs, "select", noted)
    stacks = toy_stacks([setting()], "ep4", "ep2", "lp")
    evaluate(stacks, toy_batches(seed=1, number=2))
    assert asked == [{"patches", "cls"}] * 2


def test_accuracy_is_the_share_of_images_ranked_first_and_among_the_first_five(ranking: Ranking) -> None:
    # the label's place: first, second, fifth, sixth, last
    assert ranking([FALLING] * 5, [0, 1, 4, 5, 6], batch_sizes=[5]) == pytest.approx((20.0, 60.0))


def test_accuracy_counts_images_and_not_batches(ranking: Ranking) -> None:
    found = ranking([FALLING] * 4, [0, 0, 0, 6], batch_sizes=[3, 1])
    assert found == pytest.approx((75.0, 75.0))


def test_a_batch_of_one_image_is_measured(ranking: Ranking) -> None:
    assert ranking([[0.0, 1.0, 2.0]], [2], batch_sizes=[1]) == (100.0, 100.0)


@pytest.mark.parametrize("classes", [2, 4, 5])
def test_with_five_classes_or_fewer_top_5_is_whole(ranking: Ranking, classes: int) -> None:
    logits = [float(-c) for c in range(classes)]
    assert ranking([logits] * 2, [0, classes - 1], batch_sizes=[2]) == (50.0, 100.0)


def test_the_epochs_loss_is_the_mean_over_images_of_unequal_batches(
    setting: MakeSetting, toy_stacks: MakeStacks, toy_batches: MakeBatches
) -> None:
    large, small = toy_batches(seed=1, number=1, size=18) + toy_batches(seed=2, number=1, size=6)
    (fed,) = toy_stacks([setting(lr=0.0, warmup_epochs=0.0)], "ep4")
    trained = train_epoch([fed], [large, small])
    losses = []
    for (batch,) in (large, small):
        assert batch.patches is not None
        logits = fed.stack.probe.train()(batch.patches)[0]
        losses.append(torch.nn.functional.cross_entropy(logits, batch.labels).item())
    assert trained.losses[0][0] == pytest.approx((18 * losses[0] + 6 * losses[1]) / 24, rel=1e-5)
    assert trained.images == 24

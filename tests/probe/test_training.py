"""Training several probes on the same batches, and measuring them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import pytest
import torch

from cache import TokenBatch
from probe import EpochResult, TokenInputs, TrainingSetting, Trial, evaluate, fit

Train = Callable[..., tuple[list[Trial], list[Sequence[EpochResult]]]]
MakeSetting = Callable[..., TrainingSetting]
MakeTrials = Callable[..., list[Trial]]
MakeBatches = Callable[..., list[TokenBatch]]

CHANCE = 100 / 6


def numbers(result: EpochResult) -> tuple[str, int, float, float, float]:
    """All of a result that does not depend on the clock."""
    return result.probe, result.epoch, result.loss, result.top1, result.top5


def weights(trial: Trial) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trial.probe.state_dict().items()}


@pytest.fixture
def ranking(setting: MakeSetting) -> Callable[..., tuple[float, float]]:
    """Evaluate hand-made logits (one list for each image): top-1 and top-5 in percent."""

    def measured(logits: list[list[float]], labels: list[int], batch_sizes: list[int]) -> tuple[float, float]:
        classes = len(logits[0])
        trial = Trial("lp", classes, classes, setting(), torch.device("cpu"))
        with torch.no_grad():  # the batch norm starts as the identity
            trial.probe.classifier.weight.copy_(torch.eye(classes))
            trial.probe.classifier.bias.zero_()
        parts = zip(
            torch.tensor(labels).split(batch_sizes), torch.tensor(logits).split(batch_sizes), strict=True
        )
        batches = [
            TokenBatch(part, torch.arange(len(part)), prefix=rows.unsqueeze(1)) for part, rows in parts
        ]
        return evaluate([trial], TokenInputs("pre", None, 0), batches)[0]

    return measured


@pytest.mark.parametrize("name", ["lp", "lp_mean", "ep4", "ep2_d3", "ep4+cls"])
def test_a_probe_learns_a_separable_toy(train_on_toy: Train, setting: MakeSetting, name: str) -> None:
    _, history = train_on_toy(setting(), name)
    assert history[-1][0].top1 > 4 * CHANCE
    assert history[-1][0].loss < history[0][0].loss


@pytest.mark.parametrize(("optimizer", "lr"), [("lars", 100.0), ("sgd", 0.1), ("adamw", 0.02)])
def test_every_optimizer_learns_a_separable_toy(
    train_on_toy: Train, setting: MakeSetting, optimizer: str, lr: float
) -> None:
    _, history = train_on_toy(setting(optimizer=optimizer, lr=lr), "ep4")
    assert history[-1][0].top1 > 4 * CHANCE


@pytest.mark.parametrize("name", ["lp", "lp_mean", "ep4", "ep4+cls"])
def test_a_trial_does_not_depend_on_the_trials_beside_it(
    train_on_toy: Train, setting: MakeSetting, name: str
) -> None:
    others = [other for other in ("ep4+cls", "ep2", "lp", "lp_mean", "ep4") if other != name]
    (alone,), alone_history = train_on_toy(setting(), name)
    together, together_history = train_on_toy(setting(), *others[:2], name, *others[2:])
    assert [numbers(results[0]) for results in alone_history] == [
        numbers(results[2]) for results in together_history
    ]
    assert all(torch.equal(value, weights(together[2])[key]) for key, value in weights(alone).items())


def test_the_same_seed_gives_the_same_numbers(train_on_toy: Train, setting: MakeSetting) -> None:
    (first,), first_history = train_on_toy(setting(seed=3), "ep4")
    torch.rand(5)  # what else draws random numbers does not matter
    (second,), second_history = train_on_toy(setting(seed=3), "ep4")
    assert [numbers(r[0]) for r in first_history] == [numbers(r[0]) for r in second_history]
    assert all(torch.equal(value, weights(second)[key]) for key, value in weights(first).items())


def test_another_seed_gives_other_numbers(train_on_toy: Train, setting: MakeSetting) -> None:
    _, first = train_on_toy(setting(seed=3), "ep4")
    _, second = train_on_toy(setting(seed=4), "ep4")
    assert first[0][0].loss != second[0][0].loss


def test_making_a_trial_leaves_the_random_state_alone(setting: MakeSetting, toy_trials: MakeTrials) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    toy_trials(setting(seed=9), "ep4")
    assert torch.equal(torch.rand(3), expected)


def test_the_first_step_of_a_warm_up_changes_no_parameter(
    setting: MakeSetting, toy_trials: MakeTrials, toy_batches: MakeBatches
) -> None:
    (trial,) = toy_trials(setting(warmup_epochs=1.0), "ep4")
    before = [parameter.clone() for parameter in trial.probe.parameters()]
    batch = toy_batches(seed=1)[0]
    assert batch.patches is not None
    trial.step(batch.patches, batch.labels)
    assert all(map(torch.equal, before, trial.probe.parameters()))


def test_a_step_returns_the_loss_before_it(
    setting: MakeSetting, toy_trials: MakeTrials, toy_batches: MakeBatches
) -> None:
    (trial,) = toy_trials(setting(warmup_epochs=0.0), "ep4")
    batch = toy_batches(seed=1)[0]
    assert batch.patches is not None
    expected = torch.nn.functional.cross_entropy(trial.probe.train()(batch.patches), batch.labels)
    torch.testing.assert_close(trial.step(batch.patches, batch.labels), expected.detach())


def test_a_learning_rate_reaches_the_step_through_the_schedule(
    setting: MakeSetting, toy_trials: MakeTrials
) -> None:
    # SGD without momentum: the n-th step of a constant gradient is lr · factor · gradient
    chosen = setting(optimizer="sgd", lr=0.5, momentum=0.0, warmup_epochs=1.0, steps_per_epoch=4)
    (trial,) = toy_trials(chosen, "lp")
    tokens, labels = torch.zeros(6, 12), torch.arange(6) * 0  # batch norm gives 0: only the bias learns
    bias = trial.probe.classifier.bias
    trial.step(tokens, labels)
    before = bias.detach().clone()
    gradient = torch.softmax(before, dim=0) - torch.eye(6)[0]
    trial.step(tokens, labels)
    torch.testing.assert_close(bias.detach(), before - 0.5 * 0.25 * gradient)


def test_measuring_changes_nothing_of_a_trial(
    setting: MakeSetting, toy_trials: MakeTrials, toy_batches: MakeBatches
) -> None:
    (trial,) = toy_trials(setting(), "ep4")
    before = weights(trial)
    evaluate([trial], TokenInputs("pre", None, 0), toy_batches(seed=1))
    assert all(torch.equal(value, before[key]) for key, value in weights(trial).items())


def test_accuracy_is_the_share_of_images_ranked_first_and_among_the_first_five(
    ranking: Callable[..., tuple[float, float]],
) -> None:
    falling = [7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]
    # the label's place: first, second, fifth, sixth, last
    assert ranking([falling] * 5, [0, 1, 4, 5, 6], batch_sizes=[5]) == pytest.approx((20.0, 60.0))


def test_accuracy_counts_images_and_not_batches(ranking: Callable[..., tuple[float, float]]) -> None:
    falling = [7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]
    found = ranking([falling] * 4, [0, 0, 0, 6], batch_sizes=[3, 1])
    assert found == pytest.approx((75.0, 75.0))


def test_a_batch_of_one_image_is_measured(ranking: Callable[..., tuple[float, float]]) -> None:
    assert ranking([[0.0, 1.0, 2.0]], [2], batch_sizes=[1]) == (100.0, 100.0)


@pytest.mark.parametrize("classes", [2, 4, 5])
def test_with_five_classes_or_fewer_top_5_is_whole(
    ranking: Callable[..., tuple[float, float]], classes: int
) -> None:
    logits = [float(-c) for c in range(classes)]
    assert ranking([logits] * 2, [0, classes - 1], batch_sizes=[2]) == (50.0, 100.0)


def test_the_epochs_loss_is_the_mean_over_images_of_unequal_batches(
    setting: MakeSetting, toy_trials: MakeTrials, toy_batches: MakeBatches
) -> None:
    large, small = toy_batches(seed=1, number=1, size=18) + toy_batches(seed=2, number=1, size=6)
    (trial,) = toy_trials(setting(lr=0.0, warmup_epochs=0.0), "ep4")
    ((result,),) = fit(
        [trial], TokenInputs("pre", None, 0), lambda epoch: [large, small], lambda: [small], epochs=1
    )
    losses = []
    for batch in (large, small):
        assert batch.patches is not None
        logits = trial.probe.train()(batch.patches)
        losses.append(torch.nn.functional.cross_entropy(logits, batch.labels).item())
    assert result.loss == pytest.approx((18 * losses[0] + 6 * losses[1]) / 24, rel=1e-5)


def test_epochs_count_from_zero_for_the_batches_and_from_one_in_the_results(
    setting: MakeSetting, toy_trials: MakeTrials, toy_batches: MakeBatches
) -> None:
    asked: list[int] = []

    def train(epoch: int) -> list[TokenBatch]:
        asked.append(epoch)
        return toy_batches(seed=1, number=2)

    results = fit(
        toy_trials(setting(epochs=3), "lp"),
        TokenInputs("pre", None, 0),
        train,
        lambda: toy_batches(seed=2),
        epochs=3,
    )
    assert [epoch.epoch for (epoch,) in results] == [1, 2, 3]
    assert asked == [0, 1, 2]


def test_results_come_in_the_order_of_the_trials(train_on_toy: Train, setting: MakeSetting) -> None:
    _, history = train_on_toy(setting(epochs=1), "ep4", "lp", "ep2")
    assert [result.probe for result in history[0]] == ["ep4", "lp", "ep2"]


def test_a_setting_cannot_be_changed_under_way(setting: MakeSetting) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setting().lr = 1.0  # type: ignore[misc]

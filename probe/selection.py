"""What a run answers: for each probe and set of tokens, the setting that was chosen and what it scores."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from probe.outcome import Outcome


@dataclass(frozen=True)
class Answer:
    """One question's. Accuracies in percent; means over seeds and draws, with their standard deviations."""

    probe: str
    blocks: tuple[int, ...]
    tokens: str
    shots: int | None
    fraction: float | None
    setting: str
    """What was chosen, in short."""
    lr: float | None
    """As the recipe gives it; None for classifiers in closed form."""
    weight_decay: float | None
    repeats: int
    held_out_top1: float | None
    top1: float
    """On the evaluation split after the last epoch, of the chosen setting."""
    top1_deviation: float | None
    top5: float
    best_top1: float
    """The literature's: the best epoch and setting on the evaluation split itself. Optimistic."""
    best_top1_deviation: float | None
    trials: tuple[str, ...]
    """Names of the chosen setting's trials."""
    retrieval: Mapping[str, float] | None = None
    """R@1, R@5 and mAP of the evaluation images among the training images, in percent."""


def answers(outcomes: Sequence[Outcome]) -> list[Answer]:
    """One for each question, in the order of the trials.

    The setting (learning rate and weight decay) with the highest mean accuracy on the held-out images after
    its last epoch is chosen, the first of equals. Where no images were held out and there are several, each
    is a question of its own.
    """
    found = []
    for trials in _grouped(outcomes, lambda outcome: outcome.spec.question):
        by_choice = list(_grouped(trials, lambda outcome: outcome.spec.choice))
        if trials[0].last.held_out_top1 is None:
            found += [_answer(chosen, chosen) for chosen in by_choice]
        else:
            whole = [chosen for chosen in by_choice if not any(outcome.pruned for outcome in chosen)]
            found.append(_answer(max(whole, key=_held_out_mean), trials))
    return found


def _answer(chosen: Sequence[Outcome], candidates: Sequence[Outcome]) -> Answer:
    spec = chosen[0].spec
    top1, deviation = _mean_and_deviation(outcome.last.top1 for outcome in chosen)
    best = [
        max(row.top1 for outcome in repeat for row in outcome.epochs if row.top1 is not None)
        for repeat in _grouped(
            [outcome for outcome in candidates if not outcome.pruned], lambda outcome: outcome.spec.repeat
        )
    ]
    best_top1, best_deviation = _mean_and_deviation(best)
    held_out = chosen[0].last.held_out_top1
    return Answer(
        probe=spec.probe,
        blocks=spec.blocks,
        tokens=spec.tokens,
        shots=spec.images.shots,
        fraction=spec.images.fraction,
        setting=spec.setting,
        lr=spec.lr,
        weight_decay=spec.weight_decay,
        repeats=len(chosen),
        held_out_top1=None if held_out is None else _held_out_mean(chosen),
        top1=top1,
        top1_deviation=deviation,
        top5=_mean_and_deviation(outcome.last.top5 for outcome in chosen)[0],
        best_top1=best_top1,
        best_top1_deviation=best_deviation,
        trials=tuple(outcome.name for outcome in chosen),
    )


def _held_out_mean(outcomes: Sequence[Outcome]) -> float:
    return _mean_and_deviation(outcome.last.held_out_top1 for outcome in outcomes)[0]


def _mean_and_deviation(values: Iterable[float | None]) -> tuple[float, float | None]:
    found = [value for value in values if value is not None]
    return statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else None


def _grouped(outcomes: Iterable[Outcome], key: Callable[[Outcome], object]) -> Iterable[list[Outcome]]:
    groups: dict[object, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(key(outcome), []).append(outcome)
    return groups.values()

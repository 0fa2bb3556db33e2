"""The closed-form probes of a run: their features, their choices, their answers."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch

from configs import TokenState, UserError
from probe.closed_form import Accuracies, Classifier, LogisticRegression, NearestNeighbours, Workplace
from probe.data import ProbeData
from probe.features import VECTORS, Features, read_features
from probe.grid import block_sets, held_out_share, token_states, training_images
from probe.names import CLOSED_FORM, TokenSet
from probe.neighbours import retrieval_scores
from probe.options import FitOptions
from probe.passes import training_memory
from probe.predictions import RANKS, FirstClasses
from probe.selection import Answer
from probe.training_data import ImageChoice, TrainingData, open_training_data
from probe.trial_spec import TrainingImages, TrialSpec, label, varied


@dataclass(frozen=True)
class ClosedFormResult:
    """An answer, and every setting's accuracies: on the held-out images, and of each draw on the others."""

    answer: Answer
    held_out: Mapping[str, float]
    evaluation: Sequence[Accuracies]
    seconds: float
    predictions: Mapping[str, torch.Tensor]
    """Under a name for each draw, the first classes of every evaluation record (`probe.predictions`)."""


@dataclass(frozen=True)
class _Question:
    name: str
    blocks: tuple[int, ...]
    state: TokenState
    draws: tuple[TrainingImages, ...]

    def specs(self) -> list[TrialSpec]:
        """One for each draw, to name its predictions by; nothing is trained with learning rates or seeds."""
        return [TrialSpec(self.name, self.blocks, self.state, images, 0, 0, 0) for images in self.draws]


def require_enough_images(options: FitOptions, data: ProbeData) -> None:
    """Raise `UserError` where a closed-form probe could not learn from its training images."""
    for question in _questions(options, data):
        for images in question.draws:
            labels = _opened(options, data, question, images).train.blocks[0].labels
            asked = f" of {images.asked}" if images.asked else ""
            if question.name.startswith("knn") and min(options.neighbours) > len(labels):
                raise UserError(
                    f"{question.name}: --neighbours: all are more than the {len(labels):,} training images"
                    f"{asked}; add a smaller one"
                )
            if question.name.startswith("logreg") and len(np.unique(labels)) < 2:
                raise UserError(f"{question.name} needs training images{asked} of two classes or more")


def closed_form_results(options: FitOptions, data: ProbeData) -> Iterator[ClosedFormResult]:
    """One for each closed-form probe, blocks, token state and number of images."""
    place = Workplace(data.device, options.training_memory or training_memory(data.device))
    questions = _questions(options, data)
    names_of_draws = varied([spec for question in questions for spec in question.specs()])
    for question in questions:
        draws = [label(spec, names_of_draws) for spec in question.specs()]
        yield _result(options, data, question, draws, place)


def _questions(options: FitOptions, data: ProbeData) -> list[_Question]:
    parts: dict[tuple[int | None, float | None], list[TrainingImages]] = {}
    for images in training_images(options):
        parts.setdefault((images.shots, images.fraction), []).append(images)
    names = [name for name in options.probe if name in CLOSED_FORM]
    return [
        _Question(name, blocks, state, tuple(draws))
        for blocks, state, draws, name in product(
            block_sets(options, data), token_states(options, data), parts.values(), names
        )
    ]


def _result(
    options: FitOptions, data: ProbeData, question: _Question, draws: Sequence[str], place: Workplace
) -> ClosedFormResult:
    started = time.perf_counter()
    read = [_read(options, data, question, images) for images in question.draws]
    classifier = _classifier(options, question.name)
    held_out = _means([classifier.compared(one.train, one.held_out, place) for one in read])
    chosen = max(held_out, key=lambda setting: held_out[setting])  # the first of equals
    measured = [classifier.of_setting(chosen, one.fitted, one.evaluation, place) for one in read]
    found = [one.accuracies for one in measured]
    retrieval = None
    if options.retrieval and isinstance(classifier, NearestNeighbours):
        retrieval = _mean_retrieval([_retrieval(one, place) for one in read])
    answer = replace(_answer(question, chosen, held_out[chosen], found), retrieval=retrieval)
    predictions = {
        name: _of_all_records(data, own.records, one.classes)
        for name, own, one in zip(draws, read, measured, strict=True)
    }
    return ClosedFormResult(answer, held_out, found, time.perf_counter() - started, predictions)


def _of_all_records(data: ProbeData, records: np.ndarray, classes: torch.Tensor) -> torch.Tensor:
    """The first classes (m, ≤ 5) of some evaluation records as a table of all, (records, 5)."""
    whole = FirstClasses(1, data.evaluation.manifest.records, data.num_classes, classes.device)
    missing = min(RANKS, data.num_classes) - classes.shape[1]
    padded = torch.nn.functional.pad(classes, (0, missing), value=-1)
    whole.add(torch.from_numpy(records), padded.unsqueeze(0))
    return whole.here()[0]


def _classifier(options: FitOptions, name: str) -> Classifier:
    if name.startswith("knn"):
        return NearestNeighbours(options.neighbours, options.temperature)
    return LogisticRegression()


@dataclass(frozen=True)
class _Read:
    train: Features
    held_out: Features
    fitted: Features
    evaluation: Features
    records: np.ndarray
    """Positions of the evaluation images in their split."""


def _vectors(question: _Question) -> tuple[TokenSet, ...]:
    return VECTORS[question.name.partition("_")[2]]


def _opened(
    options: FitOptions, data: ProbeData, question: _Question, images: TrainingImages
) -> TrainingData:
    arrays = data.inputs(question.state, options.combine).arrays(_vectors(question))
    choice = ImageChoice(images, held_out_share(options), options.order_seed)
    return open_training_data(data, question.blocks, arrays, choice, verify=options.verify)


def _read(options: FitOptions, data: ProbeData, question: _Question, images: TrainingImages) -> _Read:
    opened = _opened(options, data, question, images)
    vectors, inputs = _vectors(question), data.inputs(question.state, options.combine)
    assert opened.held_out is not None
    train, held_out, evaluation = (
        read_features(part, inputs, vectors, data.device)
        for part in (opened.train, opened.held_out, opened.evaluation)
    )
    fitted = train.joined(held_out) if images.all else train
    return _Read(train, held_out, fitted, evaluation, opened.evaluation.blocks[0].records)


def _means(draws: Sequence[Accuracies]) -> dict[str, float]:
    """setting → mean top-1, of the settings that every draw has."""
    shared = [setting for setting in draws[0] if all(setting in draw for draw in draws)]
    return {setting: statistics.fmean(draw[setting][0] for draw in draws) for setting in shared}


def _answer(question: _Question, chosen: str, held_out: float, found: Sequence[Accuracies]) -> Answer:
    top1 = [draw[chosen][0] for draw in found]
    best = [max(accuracy[0] for accuracy in draw.values()) for draw in found]
    images = question.draws[0]
    return Answer(
        probe=question.name,
        blocks=question.blocks,
        tokens=question.state,
        shots=images.shots,
        fraction=images.fraction,
        setting=chosen,
        lr=None,
        weight_decay=None,
        repeats=len(found),
        held_out_top1=held_out,
        top1=statistics.fmean(top1),
        top1_deviation=statistics.stdev(top1) if len(top1) > 1 else None,
        top5=statistics.fmean(draw[chosen][1] for draw in found),
        best_top1=statistics.fmean(best),
        best_top1_deviation=statistics.stdev(best) if len(best) > 1 else None,
        trials=(),
    )


def _mean_retrieval(draws: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: statistics.fmean(draw[name] for draw in draws) for name in draws[0]}


def _retrieval(read: _Read, place: Workplace) -> dict[str, float]:
    """Of the evaluation images among the training images."""
    scores = retrieval_scores(
        read.evaluation.values,
        read.evaluation.labels,
        read.fitted.values,
        read.fitted.labels,
        memory=place.memory,
        device=place.device,
    )
    return {
        "R@1": scores.recall_at_1,
        "R@5": scores.recall_at_5,
        "mAP": scores.mean_average_precision,
    }

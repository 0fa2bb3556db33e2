"""Weighted votes of neighbours, against plain loops and scikit-learn."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from configs import UserError
from probe.neighbours import KnnScore, knn_scores

Score = Callable[..., list[KnnScore]]


@pytest.fixture
def score(device: torch.device) -> Score:
    """`knn_scores` on the host with memory enough."""

    def scored(
        train: torch.Tensor, labels: list[int], evaluation: torch.Tensor, own: list[int], **options: object
    ) -> list[KnnScore]:
        settings = {"ks": [1], "temperatures": [0.07], "memory": 2**30, "device": device, **options}
        return knn_scores(train, torch.tensor(labels), evaluation, torch.tensor(own), **settings)

    return scored


def _plain_hits(
    similarities: list[float], labels: list[int], own: int, k: int, temperature: float
) -> tuple[bool, bool]:
    """Top-1 and top-5 of one image."""
    nearest = sorted(range(len(labels)), key=lambda image: (-similarities[image], image))[:k]
    votes: dict[int, float] = defaultdict(float)
    for image in nearest:
        votes[labels[image]] += math.exp(similarities[image] / temperature)
    ranking = sorted(votes, key=lambda label: (-votes[label], label))
    return own in ranking[:1], own in ranking[:5]


@given(data=st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_k_and_temperature_is_what_the_formula_says(
    data: st.DataObject, exact_features: st.SearchStrategy[torch.Tensor], score: Score, small_tiles: None
) -> None:
    train, evaluation = data.draw(exact_features), data.draw(exact_features)
    label = st.integers(0, 7)
    labels = data.draw(st.lists(label, min_size=len(train), max_size=len(train)))
    own = data.draw(st.lists(label, min_size=len(evaluation), max_size=len(evaluation)))
    ks = data.draw(st.lists(st.integers(1, len(train)), min_size=1, max_size=3))
    # powers of two apart: sums of different votes are never equal but for rounding
    temperatures = [0.25 / math.log(2**10), 0.5 / math.log(2**10)]
    similarities = (evaluation @ train.T / 4).tolist()
    expected = []
    for k in ks:
        for temperature in temperatures:
            hits = [
                _plain_hits(row, labels, image, k, temperature)
                for row, image in zip(similarities, own, strict=True)
            ]
            percent = [100 * sum(hit) / len(own) for hit in zip(*hits, strict=True)]
            expected.append(KnnScore(k, temperature, *percent))
    assert score(train, labels, evaluation, own, ks=ks, temperatures=temperatures) == expected


def test_scikit_learn_predicts_the_same(score: Score) -> None:
    features, labels = load_digits(return_X_y=True)
    train, evaluation = slice(0, 1000), slice(1000, None)
    for k, temperature in ((1, 0.07), (20, 0.07), (200, 0.2)):
        reference = KNeighborsClassifier(
            k, metric="cosine", algorithm="brute", weights=lambda d, t=temperature: np.exp((1 - d) / t)
        ).fit(features[train], labels[train])
        (found,) = score(
            torch.from_numpy(features[train]),
            labels[train].tolist(),
            torch.from_numpy(features[evaluation]),
            labels[evaluation].tolist(),
            ks=[k],
            temperatures=[temperature],
        )
        assert found.top1 == pytest.approx(100 * reference.score(features[evaluation], labels[evaluation]))


def test_a_grid_is_every_k_and_temperature_alone(score: Score) -> None:
    drawn = torch.Generator().manual_seed(0)
    images = (
        torch.randn(90, 6, generator=drawn).half(),
        torch.randint(12, (90,), generator=drawn).tolist(),
        torch.randn(40, 6, generator=drawn).half(),
        torch.randint(12, (40,), generator=drawn).tolist(),
    )
    ks, temperatures = [20, 1, 5], [0.1, 0.01, 10.0]
    alone = [
        score(*images, ks=[k], temperatures=[temperature])[0] for k in ks for temperature in temperatures
    ]
    assert score(*images, ks=ks, temperatures=temperatures) == alone


@pytest.mark.usefixtures("small_tiles")
def test_scores_do_not_depend_on_the_memory(score: Score) -> None:
    drawn = torch.Generator().manual_seed(0)
    images = (
        torch.randn(50, 6, generator=drawn),
        torch.randint(5, (50,), generator=drawn).tolist(),
        torch.randn(23, 6, generator=drawn),
        torch.randint(5, (23,), generator=drawn).tolist(),
    )
    assert score(*images, ks=[5], memory=4000) == score(*images, ks=[5])


def test_of_equal_votes_the_lower_class_wins(score: Score) -> None:
    train = torch.ones(2, 2)
    found = score(train, [1, 0], torch.ones(4, 2), [0, 0, 0, 1], ks=[2])
    assert found == [KnnScore(2, 0.07, top1=75.0, top5=100.0)]


def test_a_class_without_votes_is_never_predicted(score: Score) -> None:
    found = score(torch.eye(3), [0, 1, 2], torch.eye(3), [1, 2, 3], ks=[1])
    assert found == [KnnScore(1, 0.07, top1=0.0, top5=0.0)]


def test_a_cold_vote_does_not_overflow(score: Score) -> None:
    train = torch.tensor([[1.0, 0.0], [1.0, 0.02], [1.0, 0.02]])
    found = score(train, [0, 1, 1], train[:1], [0], ks=[3], temperatures=[1e-5, 1.0])
    assert [one.top1 for one in found] == [100.0, 0.0]


def test_more_neighbours_than_training_images_are_refused(score: Score) -> None:
    with pytest.raises(UserError, match="4 nearest neighbours of 3 images"):
        score(torch.eye(3), [0, 1, 2], torch.eye(3), [0, 1, 2], ks=[1, 4])

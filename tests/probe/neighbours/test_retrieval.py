"""Recall and mean average precision, against plain loops and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from configs import UserError
from probe.neighbours import RetrievalScore, leave_one_out_scores, retrieval_scores

ENOUGH = 2**30
examples = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _plain(
    similarities: list[list[float]], own: list[int], labels: list[int], *, leave_one_out: bool = False
) -> RetrievalScore | None:
    rows: list[tuple[bool, bool, float]] = []
    for query, row in enumerate(similarities):
        others = [image for image in range(len(labels)) if not (leave_one_out and image == query)]
        ranking = sorted(others, key=lambda image: (-row[image], image))
        places = [place for place, image in enumerate(ranking, 1) if labels[image] == own[query]]
        if places:
            precision = sum(rank / place for rank, place in enumerate(places, 1)) / len(places)
            rows.append((places[0] <= 1, places[0] <= 5, precision))
    if not rows:
        return None
    return RetrievalScore(*(100 * np.mean(rows, axis=0)).tolist(), queries=len(rows))


def _as_tuple(score: RetrievalScore) -> tuple[float, ...]:
    return (score.recall_at_1, score.recall_at_5, score.mean_average_precision, score.queries)


def _check(found: RetrievalScore, expected: RetrievalScore) -> None:
    assert _as_tuple(found) == pytest.approx(_as_tuple(expected))


@given(data=st.data())
@examples
def test_queries_against_a_gallery_are_what_the_formula_says(
    data: st.DataObject,
    exact_features: st.SearchStrategy[torch.Tensor],
    device: torch.device,
    small_tiles: None,
) -> None:
    queries, gallery = data.draw(exact_features), data.draw(exact_features)
    label = st.integers(0, 3)
    own = data.draw(st.lists(label, min_size=len(queries), max_size=len(queries)))
    labels = data.draw(st.lists(label, min_size=len(gallery), max_size=len(gallery)))
    arguments = (queries, torch.tensor(own), gallery, torch.tensor(labels))
    expected = _plain((queries @ gallery.T / 4).tolist(), own, labels)
    if expected is None:
        with pytest.raises(UserError, match="nothing can be retrieved"):
            retrieval_scores(*arguments, memory=ENOUGH, device=device)
    else:
        _check(retrieval_scores(*arguments, memory=ENOUGH, device=device), expected)


@given(data=st.data())
@examples
def test_images_against_all_others_are_what_the_formula_says(
    data: st.DataObject,
    exact_features: st.SearchStrategy[torch.Tensor],
    device: torch.device,
    small_tiles: None,
) -> None:
    features = data.draw(exact_features)
    labels = data.draw(st.lists(st.integers(0, 3), min_size=len(features), max_size=len(features)))
    expected = _plain((features @ features.T / 4).tolist(), labels, labels, leave_one_out=True)
    if expected is not None:
        _check(leave_one_out_scores(features, torch.tensor(labels), memory=ENOUGH, device=device), expected)


def test_average_precision_is_scikit_learns(device: torch.device) -> None:
    drawn = torch.Generator().manual_seed(0)
    queries, gallery = torch.randn(20, 8, generator=drawn), torch.randn(2100, 8, generator=drawn)
    own, labels = torch.randint(3, (20,), generator=drawn), torch.randint(3, (2100,), generator=drawn)
    a, b = (x.double() / x.double().norm(dim=1, keepdim=True) for x in (queries, gallery))
    precisions = [
        average_precision_score((labels == label).numpy(), row.numpy())
        for label, row in zip(own, a @ b.T, strict=True)
    ]
    found = retrieval_scores(queries, own, gallery, labels, memory=ENOUGH, device=device)
    assert found.mean_average_precision == pytest.approx(100 * np.mean(precisions), abs=1e-4)


@pytest.mark.usefixtures("small_tiles")
def test_scores_do_not_depend_on_the_memory(device: torch.device) -> None:
    drawn = torch.Generator().manual_seed(0)
    features, labels = torch.randn(37, 6, generator=drawn), torch.randint(5, (37,), generator=drawn)
    little, much = (
        leave_one_out_scores(features, labels, memory=memory, device=device) for memory in (6000, ENOUGH)
    )
    assert little == much


def test_queries_without_a_right_answer_are_left_out(device: torch.device) -> None:
    found = retrieval_scores(
        torch.eye(2), torch.tensor([0, 5]), torch.eye(2), torch.tensor([0, 1]), memory=ENOUGH, device=device
    )
    assert found == RetrievalScore(100.0, 100.0, 100.0, queries=1)


def test_a_gallery_of_single_images_is_refused(device: torch.device) -> None:
    with pytest.raises(UserError, match="no query has another image of its class"):
        leave_one_out_scores(torch.eye(3), torch.arange(3), memory=ENOUGH, device=device)

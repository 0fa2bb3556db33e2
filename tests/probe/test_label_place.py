"""Places of an image's own class among scores."""

from __future__ import annotations

import torch

from probe.label_place import label_place


def test_classes_with_higher_scores_stand_before() -> None:
    scores = torch.tensor([[0.1, 0.5, 0.4], [0.1, 0.5, 0.4], [0.1, 0.5, 0.4]])
    assert label_place(scores, torch.tensor([0, 1, 2])).tolist() == [2, 0, 1]


def test_of_equal_scores_the_lower_number_stands_before() -> None:
    assert label_place(torch.zeros(3, 3), torch.tensor([0, 1, 2])).tolist() == [0, 1, 2]


def test_leading_axes_share_the_labels() -> None:
    scores = torch.tensor([[[0.0, 1.0]], [[1.0, 0.0]]])
    assert label_place(scores, torch.tensor([1])).tolist() == [[0], [1]]


def test_a_score_that_is_no_number_is_no_hit() -> None:
    scores = torch.full((1, 6), torch.nan)
    assert label_place(scores, torch.tensor([0])).item() == 6

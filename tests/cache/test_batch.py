from __future__ import annotations

import torch

from cache import TokenBatch


def _batch() -> TokenBatch:
    return TokenBatch(labels=torch.tensor([1, 0]), index=torch.tensor([5, 6]), patches=torch.ones(2, 3, 4))


def test_length_is_the_number_of_records() -> None:
    assert len(_batch()) == 2


def test_moving_a_batch_moves_every_array_it_holds() -> None:
    moved = _batch().to(torch.device("meta"))
    assert {moved.labels.device.type, moved.index.device.type, moved.patches.device.type} == {"meta"}


def test_moving_a_batch_keeps_absent_arrays_absent() -> None:
    moved = _batch().to(torch.device("meta"))
    assert (moved.prefix, moved.mean, moved.mean_normed) == (None, None, None)

from __future__ import annotations

import numpy as np
import pytest

from configs import UserError
from extract.sources import open_dataset
from extract.sources.digits import DigitsSource


def test_the_split_is_fixed() -> None:
    train, test = DigitsSource("train"), DigitsSource("test")
    assert (len(train), len(test)) == (1437, 360)
    assert train.fingerprint.startswith("cf523fcf146ab6c4")
    assert test.fingerprint.startswith("99ac20baf448e93e")


def test_the_split_is_stratified() -> None:
    shares = [np.bincount(DigitsSource(s).labels) / len(DigitsSource(s)) for s in ("train", "test")]
    assert abs(shares[0] - shares[1]).max() < 0.002


def test_images_are_grey_and_span_the_range() -> None:
    pixels = np.stack([np.asarray(DigitsSource("test").load(i)) for i in range(20)])
    assert (pixels.shape, pixels.min(), pixels.max()) == ((20, 8, 8), 0, 255)


def test_an_unknown_data_set_gets_the_nearest_names() -> None:
    with pytest.raises(UserError, match=r"unknown dataset 'digit'; did you mean digits\?, or give folder:"):
        open_dataset("digit")

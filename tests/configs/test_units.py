from __future__ import annotations

import pytest

from configs import in_bytes, in_time


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (401_408, "401.4 KB"),
        (1_000_000, "1.00 MB"),
        (999_960_000, "1.00 GB"),
        (547_993_571_888, "548.0 GB"),
        (5e18, "5,000.0 PB"),
    ],
)
def test_bytes_have_a_decimal_unit(count: float, text: str) -> None:
    assert in_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0123, "0.012 s"),
        (90, "90.0 s"),
        (120, "2.0 min"),
        (7200, "2.0 h"),
        (3 * 86400, "3.0 days"),
        (1e9, "31.7 years"),
    ],
)
def test_times_have_the_largest_unit_that_fits_twice(seconds: float, text: str) -> None:
    assert in_time(seconds) == text

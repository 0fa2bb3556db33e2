"""Numbers that are named where one does not divide a width."""

from __future__ import annotations

import pytest

from configs import UserError
from probe.poolings.divisors import check_heads, nearest_divisors


@pytest.mark.parametrize(
    ("wanted", "width", "named"), [(7, 768, "4, 6, 8"), (32, 12, "4, 6, 12"), (12, 1024, "4, 8, 16")]
)
def test_the_three_nearest_divisors_are_named_in_order(wanted: int, width: int, named: str) -> None:
    assert nearest_divisors(wanted, width) == named


def test_a_prime_width_has_two_divisors_to_name() -> None:
    assert nearest_divisors(32, 193) == "1, 193"


@pytest.mark.parametrize("heads", [0, 5])
def test_heads_that_do_not_share_the_channels_evenly_are_refused(heads: int) -> None:
    with pytest.raises(UserError, match=f"{heads} heads do not divide the token width 96: use"):
        check_heads(heads, 96)

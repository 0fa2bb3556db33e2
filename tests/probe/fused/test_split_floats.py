"""Three bytes of a float32 number, written and read by a kernel."""

from __future__ import annotations

import pytest
import torch
import triton
import triton.language as tl
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.fused.split_floats import join_float, split_float

LARGEST = torch.finfo(torch.float32).max


@triton.jit
def _there_and_back(values, rounded, following, joined, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    places = tl.arange(0, BLOCK)
    upper, lower = split_float(tl.load(values + places))
    tl.store(rounded + places, upper)
    tl.store(following + places, lower)
    tl.store(joined + places, join_float(upper, lower))


def there_and_back(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """As rounded to bfloat16, and as joined with what follows."""
    rounded, following, joined = (
        torch.empty_like(values, dtype=dtype) for dtype in (torch.bfloat16, torch.int8, torch.float32)
    )
    _there_and_back[(1,)](values, rounded, following, joined, BLOCK=len(values))
    return rounded, joined


@settings(deadline=None)  # the first example compiles the kernel
@given(st.lists(st.floats(-LARGEST / 2, LARGEST / 2, width=32), min_size=8, max_size=8))
def test_numbers_lose_their_last_eight_bits(device: torch.device, numbers: list[float]) -> None:
    values = torch.tensor(numbers, device=device)
    rounded, joined = there_and_back(values)
    usual = values.abs() > 1e-37  # smaller numbers have fewer bits to lose
    assert bool(((rounded.double() - values).abs() <= 2.0**-8 * values.abs().double())[usual].all())
    assert bool(((joined.double() - values).abs() <= 2.0**-16 * values.abs().double())[usual].all())
    assert bool((joined.abs() < 2e-37)[~usual].all())


def test_a_number_between_two_of_bfloat16_is_rounded_to_the_nearer(device: torch.device) -> None:
    unit = 2.0**-7
    values = torch.tensor(
        [1 + 0.49 * unit, 1 + 0.51 * unit, -1 - 0.49 * unit, -1 - 0.51 * unit], device=device
    )
    assert there_and_back(values)[0].tolist() == [1, 1 + unit, -1, -1 - unit]


@pytest.mark.parametrize("bits", [0x7FFFFFFF, 0x7FC00000, -1, -0x400000])
def test_no_number_stays_none(device: torch.device, bits: int) -> None:
    values = torch.full((4,), bits, dtype=torch.int32, device=device).view(torch.float32)
    rounded, joined = there_and_back(values)
    assert bool(rounded.isnan().all())
    assert bool(joined.isnan().all())


def test_an_overflow_stays_visible(device: torch.device) -> None:
    values = torch.tensor([float("inf"), float("-inf"), LARGEST, -LARGEST], device=device)
    rounded, joined = there_and_back(values)
    assert bool(rounded.isinf().all())
    assert not bool(joined[:2].isfinite().any())
    assert torch.allclose(joined[2:], values[2:])

# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, misc"
"""float32 as a bfloat16 number and eight more bits of it: three bytes, 2⁻¹⁶ of the number at most lost."""

from __future__ import annotations

import triton
import triton.language as tl

HALF = tl.constexpr(0x8000)
"""Of the last place of bfloat16, in that of float32."""


NAN = tl.constexpr(0x7FC0)
"""In bfloat16."""


@triton.jit
def split_float(values):
    """The nearest bfloat16, and by how much the number is beyond it, in 2⁻⁸ of the last place: int8.

    Bits of float32 follow one another as the numbers do, so differences and sums are those of integers.
    """
    bits = values.to(tl.int32, bitcast=True)
    nearest = (bits + HALF) & -0x10000
    following = ((bits - nearest) >> 8).to(tl.int8)
    upper = tl.where(values == values, nearest >> 16, NAN)  # NaN's bits may carry into the sign
    return upper.to(tl.int16).to(tl.bfloat16, bitcast=True), following


@triton.jit
def join_float(rounded, following):
    """The middle of all float32 that `split_float` makes these of."""
    bits = rounded.to(tl.int16, bitcast=True).to(tl.int32) << 16
    return (bits + (following.to(tl.int32) << 8) + 0x80).to(tl.float32, bitcast=True)

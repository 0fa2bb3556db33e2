"""How far stored tokens may be from the ones that a backbone computes again."""

from __future__ import annotations

from cache import ArraySpec

ROUNDING = {"float32": 0.0, "float16": 5e-4, "bfloat16": 4e-3, "int8": 4e-2}
"""Largest relative root-mean-square error that rounding alone gives an image's tokens.

A significand of p bits rounds by at most 2⁻ᵖ of a value: 2⁻¹¹ = 4.9e-4 in float16, 2⁻⁸ = 3.9e-3 in
bfloat16, which the root mean square over values cannot exceed (below `SMALLEST_NORMAL` errors are absolute,
2⁻¹¹ of that number at most). int8: of a token's values, each divided by its channel's root mean square,
the largest gets code 127, so a code's step is peak / 127, and rounding errs by step / √12 = 0.0023 · peak;
peaks of 3 to 6 give 0.007 to 0.014, and tokens with a peak of 17 reach the limit.
"""

SMALLEST_NORMAL = {"float32": 2.0**-126, "float16": 2.0**-14, "bfloat16": 2.0**-126, "int8": 2.0**-14}
"""Of int8: that of its float16 factors."""

FORWARD = {"float32": 1e-3, "float16 autocast": 1e-2, "bfloat16 autocast": 5e-2}
"""What another machine, batch size or version of PyTorch may add, by the precision of the forward pass.

Sums in another order change float32 tokens by about 1e-6 (the same machine) to 1e-4 (deep backbones, other
kernels); TF32 convolutions, which were left to PyTorch's default on NVIDIA devices once and are off now
(`cache.device`), round inputs by 2⁻¹¹ = 5e-4. Autocast rounds every product, by 2⁻¹¹ or 2⁻⁸, in every block.
"""


def tolerance(array: ArraySpec, precision: str) -> float:
    """Largest relative error of an image's tokens in `array`, of a backbone that computes in `precision`."""
    return ROUNDING[array.dtype] + FORWARD.get(precision, FORWARD["float32"])

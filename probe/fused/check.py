"""Before a device uses a variant of the kernels for the first time: does it compute what it should there?"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cache

import torch

from cache import FinalNorm, NormKind, is_out_of_memory
from cache.int8 import quantize
from probe.fused.blocks import Blocks
from probe.fused.stored_tokens import StoredTokens

TOLERANCES = {torch.float16: 4e-3, torch.int8: 4e-3, torch.bfloat16: 3e-2}
"""Of operands in one part, relative; in several parts a hundredth of it."""

USUAL_MULTIPLE = 32
"""Of queries: the compiler starts anew for numbers that are no multiples of 16."""

POOLED_TOLERANCE = 1e-2
"""Of what is pooled and its gradient in 16 bits."""


@dataclass(frozen=True)
class Variant:
    """What the kernels are compiled for, but the number of queries and tokens."""

    device: torch.device
    dtype: torch.dtype
    dim: int
    norm: NormKind | None
    precision: torch.dtype
    listed: bool
    """Whether images are taken from among others."""
    blocks: Blocks
    parts: int

    @property
    def tolerance(self) -> float:
        """The largest relative error."""
        operands = TOLERANCES[self.dtype] / (1 if self.parts == 1 else 100)
        return operands if self.precision == torch.float32 else max(operands, POOLED_TOLERANCE)


def variant_of(tokens: StoredTokens, blocks: Blocks, parts: int) -> Variant:
    """The one that `tokens` need."""
    norm = None if tokens.norm is None else tokens.norm.kind
    values, listed = tokens.values, tokens.items is not None
    dim = values.shape[-1]
    return Variant(values.device, values.dtype, dim, norm, tokens.precision, listed, blocks, parts)


@cache
def computes(variant: Variant) -> bool:
    """Whether the kernels, compiled for this device, give the formula in float64, forward and backward.

    Where they do not, a warning says so, once, and the plain path is used.
    """
    try:
        error = _error(variant)
    except Exception as problem:  # a compiler's or driver's: they have no common class
        if is_out_of_memory(problem):  # says nothing of the kernels
            raise
        reason = " ".join(str(problem).split())[:200] or type(problem).__name__
    else:
        if error <= variant.tolerance:
            return True
        reason = f"its relative error is {error:.1g}, above {variant.tolerance:.1g}"
    warnings.warn(f"the fused attention kernel is not used on {variant.device}: {reason}", stacklevel=2)
    return False


def _error(variant: Variant) -> float:
    """The largest relative error of pooled tokens, with and without a backward pass, and of the gradient."""
    from probe.fused.pooling import fused_pool  # needs Triton

    with torch.inference_mode(False), torch.enable_grad():
        tokens = _random_tokens(variant)
        drawn = torch.Generator().manual_seed(1)
        dim, count = variant.dim, max(3 * variant.blocks.queries // 2, USUAL_MULTIPLE)
        start = torch.randn(count, dim, generator=drawn) / dim**0.5
        queries = start.to(variant.device).requires_grad_()
        direction = torch.randn(len(tokens), count, dim, generator=drawn).to(variant.device)
        exact_queries = queries.detach().double().requires_grad_()
        exact_tokens = replace(tokens, precision=torch.float32).decoded.double()
        found = fused_pool(tokens, queries, variant.blocks, variant.parts)
        wanted = torch.softmax(exact_queries @ exact_tokens.mT, dim=-1) @ exact_tokens
        (found.float() * direction).sum().backward()
        (wanted * direction).sum().backward()
        evaluated = fused_pool(tokens, queries.detach(), variant.blocks, variant.parts)
        assert queries.grad is not None
        assert exact_queries.grad is not None
        pairs = (found, wanted), (evaluated, wanted), (queries.grad, exact_queries.grad)
        errors = [float(((ours - exact).norm() / exact.norm()).detach()) for ours, exact in pairs]
    return max(errors) if all(map(_finite, errors)) else float("inf")


def _finite(number: float) -> bool:
    return abs(number) < float("inf")  # false for what is not a number


def _random_tokens(variant: Variant) -> StoredTokens:
    """Three images, one of whose channels is large in all tokens; some weights of the norm are small."""
    drawn = torch.Generator().manual_seed(0)
    dim = variant.dim
    values = torch.randn(3, 2 * variant.blocks.tokens + 5, dim, generator=drawn)
    values[..., 0] += 30.0
    weight, bias = torch.randn(2, dim, generator=drawn).to(variant.device)
    weight[::7] *= 1e-4
    kind, norm = variant.norm, None
    if kind is not None:
        norm = FinalNorm(kind, 1e-6, weight, bias if kind == "layer_norm" else None)
    items = torch.tensor([2, 0, 0], device=variant.device) if variant.listed else None
    values, scales = values.to(variant.device), None
    if variant.dtype == torch.int8:
        values, scales = quantize(values)
    return StoredTokens(values.to(variant.dtype), scales, variant.precision, norm, items)

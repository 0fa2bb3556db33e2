"""What the fused kernels and matrix products lose of a query's gradient, in Triton's interpreter on a CPU.

    python benchmarks/bench_precision.py [--json FILE]

takes half a minute. Relative error of the gradient of three queries (D = 192, five images of 37 tokens stored
as float16), norm by norm, against the formula in float64 on the stored tokens: for scores of a spread of 1,
10 and 100, and for tokens with channels that are large in all of them (300 added to one, 150 subtracted from
another), before LayerNorm and through it. Rounding is the same on a GPU but for the conversion to bfloat16,
which the interpreter cuts off.
"""

from __future__ import annotations

import os
import sys

os.environ["TRITON_INTERPRET"] = "1"  # Triton asks when it is imported

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from pydantic import Field
from report import CONSOLE, JsonFile, machine_facts, save
from rich.table import Table

from cache import FinalNorm
from configs import FrozenModel, UserError, parse, run_command
from probe.fused import StoredTokens
from probe.fused.blocks import blocks_for
from probe.stacked import attend

PROGRAM = "bench_precision.py"
IMAGES, TOKENS, DIM, QUERIES = 5, 37, 192, 3
PRECISIONS = {"float32": (torch.float32, 2), "bfloat16": (torch.bfloat16, 1)}
"""As `--precision` names them, and the parts of the kernels' operands."""


class PrecisionOptions(FrozenModel):
    """Compare the gradients of fused kernels and matrix products with float64."""

    quick: bool = Field(default=False, description="the first case alone")
    json_: JsonFile = None


@dataclass(frozen=True)
class Case:
    """Tokens, queries, the gradient of what is pooled, and the norm that tokens are seen through."""

    label: str
    tokens: torch.Tensor
    queries: torch.Tensor
    direction: torch.Tensor
    norm: FinalNorm | None

    def stored(self, precision: torch.dtype) -> StoredTokens:
        """As a store has them."""
        return StoredTokens(self.tokens, None, precision, self.norm)


def cases(quick: bool) -> list[Case]:
    """All that are compared."""
    drawn = torch.Generator().manual_seed(0)
    plain = torch.randn(IMAGES, TOKENS, DIM, generator=drawn)
    queries = torch.randn(QUERIES, DIM, generator=drawn) / DIM**0.5
    direction = torch.randn(IMAGES, QUERIES, DIM, generator=drawn)
    weight, bias = 1 + 0.3 * torch.randn(DIM, generator=drawn), torch.randn(DIM, generator=drawn)
    large = plain.clone()
    large[..., 7] += 300
    large[..., 90] -= 150
    norm = FinalNorm("layer_norm", 1e-6, weight, bias)
    found = [
        *(Case(f"spread {size}", plain.half(), size * queries, direction, None) for size in (1, 10, 100)),
        Case("large channels", large.half(), queries, direction, None),
        Case("LayerNorm", plain.half(), queries, direction, norm),
        Case("LayerNorm, large channels", large.half(), queries, direction, norm),
    ]
    return found[:1] if quick else found


def exact_gradient(case: Case) -> torch.Tensor:
    """Of the queries, by the formula in float64."""
    seen = case.tokens.double()
    if case.norm is not None:
        assert case.norm.weight is not None
        assert case.norm.bias is not None
        parameters = case.norm.weight.double(), case.norm.bias.double()
        seen = torch.nn.functional.layer_norm(seen, (DIM,), *parameters, case.norm.eps)
    queries = case.queries.double().requires_grad_()
    pooled = torch.softmax(queries @ seen.mT, dim=-1) @ seen
    (found,) = torch.autograd.grad(pooled, queries, case.direction.double())
    return found


def fused_gradient(case: Case, precision: torch.dtype, parts: int) -> torch.Tensor:
    """By the kernels."""
    from probe.fused.pooling import fused_pool

    tokens, queries = case.stored(precision), case.queries.clone().requires_grad_()
    blocks = blocks_for(DIM, QUERIES, parts, tokens.values.dtype)
    assert blocks is not None
    pooled = fused_pool(tokens, queries, blocks, parts)
    (found,) = torch.autograd.grad(pooled, queries, case.direction.to(pooled.dtype))
    return found


def plain_gradient(case: Case, precision: torch.dtype) -> torch.Tensor:
    """By matrix products on decoded tokens."""
    queries = case.queries.clone().requires_grad_()
    (pooled,) = attend(case.stored(precision).plain, queries.unsqueeze(0))
    (found,) = torch.autograd.grad(pooled, queries, case.direction.to(pooled.dtype))
    return found


def errors(case: Case) -> dict[str, float]:
    """Of each contender."""
    exact = exact_gradient(case)
    found = {}
    for name, (precision, parts) in PRECISIONS.items():
        gradients = {
            "plain": plain_gradient(case, precision),
            "fused": fused_gradient(case, precision, parts),
        }
        for way, gradient in gradients.items():
            found[f"{way}, --precision {name}"] = float((gradient - exact).norm() / exact.norm())
    return found


def show(found: Mapping[str, Mapping[str, float]]) -> None:
    """A line for each contender."""
    table = Table(title="relative error of the queries' gradient", title_justify="left")
    table.add_column("", no_wrap=True)
    for label in found:
        table.add_column(label, justify="right")
    for contender in next(iter(found.values())):
        table.add_row(contender, *(f"{row[contender]:.1e}" for row in found.values()))
    CONSOLE.print(table)


def run(options: PrecisionOptions) -> None:
    """Compare, print, save."""
    if importlib.util.find_spec("triton") is None:
        raise UserError("Triton is not installed here: PyTorch brings it on Linux")
    found = {case.label: errors(case) for case in cases(options.quick)}
    show(found)
    if options.json_ is not None:
        save(options.json_, script=PROGRAM, quick=options.quick, machine=machine_facts(), errors=found)


if __name__ == "__main__":
    sys.exit(run_command(PROGRAM, lambda: run(parse(PrecisionOptions, prog=PROGRAM))))

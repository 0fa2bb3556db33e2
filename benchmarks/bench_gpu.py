"""EP32 on a CUDA device: the fused kernels beside the device's floors, the plain path and the usual forms.

    python benchmarks/bench_gpu.py [--json FILE]

Needs a Hopper GPU (H100, H200). `--quick` runs everything at tiny sizes in Triton's interpreter on a CPU, to
see that it runs: its figures mean nothing.

1. Floors: the rate of a device-to-device copy (bytes read and written), and of a bfloat16 matrix product on
   random data.
2. EP32 on 1,024 images of ViT-L/16 (N = 196, D = 1024), pooling and projection, forward, and forward and
   backward: fused from float16 and int8 tokens as stored, with operands rounded (as `--precision bfloat16`
   asks) and in float32's precision, from where they lie among others on the device, and there through the
   final norm; the plain path; the published form; `nn.MultiheadAttention`. Floor: two reads of the stored
   tokens, forward and backward, at the copy's rate.
3. Sixteen learning rates of EP32 in one stack: products per second, as a share of the matrix product's rate.
4. Fused against plain for other widths and numbers of queries, rounded, forward and backward, and which of
   them `--kernel auto` takes: where it takes the slower one, `probe.fused.choice` is to be changed.

Every fused form's values and gradients are compared with those of the plain path in float32 before it is
timed. Times are of device events, the median of the rounds.
"""

from __future__ import annotations

import os
import sys

# Triton asks when it is imported, and torchvision imports it
os.environ.setdefault("TRITON_INTERPRET", str(int("--quick" in sys.argv)))

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from published_probes import EfficientProbing, PlainAttention
from pydantic import Field
from report import CONSOLE, JsonFile, machine_facts, save
from rich.table import Table

from cache import FinalNorm
from cache.int8 import quantize
from configs import FrozenModel, UserError, parse, run_command
from probe.fused import StoredTokens, fused_attention_fits
from probe.fused.blocks import blocks_for
from probe.stacked import attend, project_heads

PROGRAM = "bench_gpu.py"
Step = Callable[[], torch.Tensor]


class GpuBenchOptions(FrozenModel):
    """EP32 on a CUDA device beside the device's floors and the usual formulations.

    Example: python benchmarks/bench_gpu.py --json gpu.json
    """

    quick: bool = Field(default=False, description="tiny sizes, interpreted on a CPU; no real figures")
    json_: JsonFile = None


@dataclass(frozen=True)
class Sizes:
    """What is measured: tokens (images, tokens, dim), M queries, trials of a stack."""

    images: int = 1024
    tokens: int = 196
    dim: int = 1024
    queries: int = 32
    trials: int = 16
    widths: tuple[int, ...] = (192, 384, 768, 1024, 1536, 2048, 4096)
    numbers: tuple[int, ...] = (8, 32, 128, 512)
    matrix: int = 8192
    copied: int = 4 * 2**30
    rounds: int = 20


QUICK = Sizes(
    images=2,
    tokens=20,
    dim=64,
    queries=4,
    trials=2,
    widths=(64, 100),
    numbers=(3,),
    matrix=64,
    copied=2**16,
    rounds=1,
)


@dataclass(frozen=True)
class Row:
    """One contender's medians in seconds; `share`: its floor over its time, forward and backward."""

    label: str
    forward: float
    both: float
    share: float


@dataclass(frozen=True)
class Choice:
    """Seconds of both, forward and backward, and which of them `--kernel auto` takes."""

    dim: int
    queries: int
    fused: float
    plain: float
    taken: str

    @property
    def faster(self) -> str:
        """Of the two."""
        return "fused" if self.fused < self.plain else "plain"


def seconds_of(step: Step, rounds: int) -> float:
    """Median, after a round to warm up."""
    on_device = step().is_cuda
    taken = []
    for _ in range(rounds):
        if on_device:
            events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
            events[0].record()
            step()
            events[1].record()
            torch.cuda.synchronize()
            taken.append(events[0].elapsed_time(events[1]) / 1e3)
        else:
            started = time.perf_counter()
            step()
            taken.append(time.perf_counter() - started)
    median: float = statistics.median(taken)
    return median


def floors(sizes: Sizes, device: torch.device) -> dict[str, float]:
    """Bytes per second of a copy, read and written, and FLOP/s of a bfloat16 product."""
    source = torch.ones(sizes.copied, dtype=torch.uint8, device=device)
    copy = torch.empty_like(source)
    left, right = torch.randn(2, sizes.matrix, sizes.matrix, device=device).bfloat16()
    return {
        "copy_bytes_per_second": 2 * sizes.copied / seconds_of(lambda: copy.copy_(source), sizes.rounds),
        "matmul_flops_per_second": 2 * sizes.matrix**3 / seconds_of(lambda: left @ right, sizes.rounds),
    }


class Pooling(torch.nn.Module):
    """EP of K trials on tokens as stored: fused in `parts`, or by the plain path on decoded ones."""

    def __init__(self, tokens: StoredTokens, trials: int, num_queries: int, parts: int | None) -> None:
        super().__init__()
        drawn = torch.Generator().manual_seed(0)
        device, dim = tokens.values.device, tokens.values.shape[-1]
        queries = torch.randn(trials, num_queries, dim, generator=drawn) / dim
        values = torch.randn(trials, dim - dim % num_queries, dim, generator=drawn) / dim**0.5
        self.queries, self.values = (torch.nn.Parameter(start.to(device)) for start in (queries, values))
        self.parts, self.stored = parts, tokens
        self.blocks = blocks_for(dim, trials * num_queries, parts or 1, tokens.values.dtype)

    def forward(self, tokens: StoredTokens) -> torch.Tensor:
        """(K, B, D)."""
        from probe.fused.pooling import fused_pool  # needs Triton

        if self.parts is None:
            plain = replace(tokens).plain  # each step, as a run does
            return project_heads(attend(plain, self.queries), self.values)
        assert self.blocks is not None
        pooled = fused_pool(tokens, self.queries.flatten(0, 1), self.blocks, self.parts)
        return project_heads(pooled.unflatten(1, self.queries.shape[:2]).transpose(0, 1), self.values)


def steps_of(module: torch.nn.Module, tokens: object) -> tuple[Step, Step]:
    """Forward; forward and backward."""
    found = module(tokens)
    direction = torch.randn_like(found)

    def forward() -> torch.Tensor:
        with torch.no_grad():
            result: torch.Tensor = module(tokens)
        return result

    def both() -> torch.Tensor:
        result: torch.Tensor = module(tokens)
        module.zero_grad(set_to_none=True)
        result.backward(direction)
        return result

    return forward, both


def require_equal(fused: Pooling, tolerance: float) -> None:
    """Raise `AssertionError` where values or gradients are not those of the plain path in float32."""
    found = values_and_gradients(fused, fused.stored)
    fused.parts, parts = None, fused.parts
    wanted = values_and_gradients(fused, replace(fused.stored, precision=torch.float32))
    fused.parts = parts
    for ours, exact in zip(found, wanted, strict=True):
        error = float((ours - exact).norm() / exact.norm())
        assert error < tolerance, f"relative error {error:.2g}"


def values_and_gradients(pooling: Pooling, tokens: StoredTokens) -> list[torch.Tensor]:
    """What it gives, and the gradients of its parameters for the sum of squares."""
    found = pooling(tokens)
    return [found.detach(), *torch.autograd.grad(found.square().sum(), list(pooling.parameters()))]


def contenders(sizes: Sizes, device: torch.device) -> list[tuple[str, torch.nn.Module, Any, int]]:
    """Label, module, its tokens and their stored bytes."""
    values = torch.randn(sizes.images, sizes.tokens, sizes.dim, device=device)
    half = StoredTokens(values.half(), None, torch.float32)
    codes = StoredTokens(*quantize(values), torch.float32)
    del values
    rounded, rounded_codes = (replace(tokens, precision=torch.bfloat16) for tokens in (half, codes))
    weight, bias = torch.randn(2, sizes.dim, device=device)
    norm = FinalNorm("layer_norm", 1e-6, weight, bias)
    items = torch.randperm(sizes.images, device=device)
    found: list[tuple[str, torch.nn.Module, Any, int]] = []
    for label, tokens, parts, tolerance in (
        ("fused, float16, rounded operands", rounded, 1, 2e-2),
        ("the same, where they lie", replace(rounded, items=items), 1, 2e-2),
        ("the same, through LayerNorm", replace(rounded, items=items, norm=norm), 1, 2e-2),
        ("fused, float16, as in float32", half, 2, 1e-4),
        ("fused, int8, rounded operands", rounded_codes, 1, 2e-2),
        ("fused, int8, as in float32", codes, 2, 1e-4),
    ):
        pooling = Pooling(tokens, 1, sizes.queries, parts)
        require_equal(pooling, tolerance)
        found.append((label, pooling, tokens, tokens.values.nbytes))
    size = half.values.nbytes
    found.append(("plain path, bfloat16", Pooling(rounded, 1, sizes.queries, None), rounded, size))
    found.append(("plain path, float32", Pooling(half, 1, sizes.queries, None), half, size))
    published = EfficientProbing(sizes.dim, sizes.queries).to(device).half()
    found.append(("published form, float16", published, half.values, size))
    attention = PlainAttention(sizes.dim, sizes.queries).to(device).half()
    found.append(("nn.MultiheadAttention, float16", attention, half.values, size))
    return found


def measured(sizes: Sizes, device: torch.device, bytes_per_second: float) -> list[Row]:
    """Question 2. A copy moves each byte twice, a read once: its rate is that of bytes moved."""
    rows = []
    for label, module, tokens, size in contenders(sizes, device):
        forward, both = (seconds_of(step, sizes.rounds) for step in steps_of(module, tokens))
        rows.append(Row(label, forward, both, 2 * size / bytes_per_second / both))
    return rows


def stacked(sizes: Sizes, device: torch.device, flops_per_second: float) -> list[dict[str, Any]]:
    """Question 3: the two products with the tokens forward, and the two backward, are counted."""
    values = torch.randn(sizes.images, sizes.tokens, sizes.dim, device=device).half()
    flops = 8 * sizes.trials * sizes.queries * values.numel()
    rows: list[dict[str, Any]] = []
    for label, parts in (("fused, rounded operands", 1), ("plain path, bfloat16", None)):
        tokens = StoredTokens(values, None, torch.bfloat16)
        _, both = steps_of(Pooling(tokens, sizes.trials, sizes.queries, parts), tokens)
        taken = seconds_of(both, sizes.rounds)
        share = flops / taken / flops_per_second
        rows.append({"label": label, "seconds": taken, "flops": flops, "share_of_matmul_rate": share})
    return rows


def choices(sizes: Sizes, device: torch.device) -> list[Choice]:
    """Question 4, on as many tokens as question 2 has."""
    rows = []
    for dim in sizes.widths:
        images = max(1, sizes.images * sizes.dim // dim)
        values = torch.randn(images, sizes.tokens, dim, device=device).half()
        tokens = StoredTokens(values, None, torch.bfloat16)
        for number in sizes.numbers:
            if blocks_for(dim, number, 1, values.dtype) is None or number > dim:
                continue
            fused, plain = (
                seconds_of(steps_of(Pooling(tokens, 1, number, parts), tokens)[1], sizes.rounds)
                for parts in (1, None)
            )
            chosen = fused_attention_fits(device, values.dtype, tuple(values.shape), number, 1)
            rows.append(Choice(dim, number, fused, plain, "plain" if chosen is None else "fused"))
    return rows


def show_choices(rows: list[Choice]) -> None:
    """Print question 4's table."""
    table = Table(title="fused and plain, rounded, forward and backward")
    for column in ("D", "queries", "fused ms", "plain ms", "faster", "taken"):
        table.add_column(column, justify="right")
    for row in rows:
        times = f"{1e3 * row.fused:.3f}", f"{1e3 * row.plain:.3f}"
        wrong = "bold red" if row.faster != row.taken else ""
        table.add_row(str(row.dim), str(row.queries), *times, row.faster, row.taken, style=wrong)
    CONSOLE.print(table)


def show(floor: dict[str, float], rows: list[Row], stacks: list[dict[str, Any]], sizes: Sizes) -> None:
    """Print what was found."""
    CONSOLE.print(
        f"copy {floor['copy_bytes_per_second'] / 1e12:.3f} TB/s, bfloat16 product "
        f"{floor['matmul_flops_per_second'] / 1e12:.3f} TFLOP/s"
    )
    table = Table(title=f"EP{sizes.queries}, {sizes.images} images of {sizes.tokens} × {sizes.dim}")
    for column in ("", "forward ms", "both ms", "share of floor", "× published", "× MHA"):
        table.add_column(column, justify="right" if column else "left")
    published, attention = rows[-2].both, rows[-1].both
    for row in rows:
        times = (f"{published / row.both:.1f}", f"{attention / row.both:.1f}")
        table.add_row(
            row.label, f"{1e3 * row.forward:.3f}", f"{1e3 * row.both:.3f}", f"{row.share:.2f}", *times
        )
    CONSOLE.print(table)
    for stack in stacks:
        CONSOLE.print(
            f"{sizes.trials} trials, {stack['label']}: {1e3 * stack['seconds']:.3f} ms, "
            f"{stack['share_of_matmul_rate']:.2f} of the matrix product's rate"
        )


def run(options: GpuBenchOptions) -> None:
    """Measure and say."""
    if not options.quick and not torch.cuda.is_available():
        raise UserError("a CUDA device is needed, and there is none: --quick runs tiny sizes on the CPU")
    device, sizes = (torch.device("cpu"), QUICK) if options.quick else (torch.device("cuda"), Sizes())
    floor = floors(sizes, device)
    rows = measured(sizes, device, floor["copy_bytes_per_second"])
    stacks = stacked(sizes, device, floor["matmul_flops_per_second"])
    show(floor, rows, stacks, sizes)
    compared = choices(sizes, device)
    show_choices(compared)
    if options.json_ is not None:
        name = None if options.quick else torch.cuda.get_device_name()
        save(
            options.json_,
            script=PROGRAM,
            quick=options.quick,
            machine=machine_facts() | {"device": name},
            sizes=sizes,
            floors=floor,
            probes=rows,
            stacks=stacks,
            choices=compared,
        )


if __name__ == "__main__":
    sys.exit(run_command(PROGRAM, lambda: run(parse(GpuBenchOptions, prog=PROGRAM))))

"""Every probe against its published form, `nn.MultiheadAttention` and the machine's own matrix product.

    python benchmarks/bench_probes.py [--dtype bfloat16] [--threads N] [--json FILE] [--chart FILE.svg]

Batches of 64 images of ViT-B/16 (N = 196, D = 768) and ViT-L/16 (D = 1024), 1000 classes, on the CPU:
pooling, batch norm and classifier, forward, and forward and backward. The tokens get no gradient, as when
training from a store. The published forms (`published_probes.py`) project keys and values of all tokens; each
is given our weights and must give our logits, in float64, before anything is timed. All that is compared
takes turns, and what is compared is the median of the rounds' ratios; milliseconds are of the fastest round.

At the end, EP32's floor: what reading its tokens and its matrix products alone take.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from attention_floor import FloorRow, attention_floor
from measure import Role, Row, Section
from probe_times import ATTENTION, OURS, PUBLISHED, ProbeTimes, Shape, StepTimes, time_probe
from published_probes import PUBLISHED as PUBLISHED_FORMS
from pydantic import Field, PositiveInt
from report import CONSOLE, ResultOptions, keep, machine_facts, refuse_what_cannot_be_saved
from rich.box import SIMPLE
from rich.progress import Progress
from rich.table import Table

from configs import Names, UserError, optional, parse, run_command, unknown_name

PROGRAM = "bench_probes.py"
BACKBONES = {"ViT-B/16": 768, "ViT-L/16": 1024}
QUICK_ROUNDS = 2


class ProbeBenchOptions(ResultOptions):
    """Forward and backward of every probe, against its published form and nn.MultiheadAttention, on the CPU.

    Example: python benchmarks/bench_probes.py --json probes.json --chart probes.svg
    """

    probe: Names = Field(default=tuple(PUBLISHED_FORMS), description="which; all without it")
    batch: PositiveInt = Field(default=64, description="images in a batch")
    rounds: PositiveInt = Field(default=9, description="of each measurement; slow ones get as few as three")
    dtype: Literal["float32", "bfloat16"] = Field(default="float32", description="of tokens and weights")
    threads: Annotated[PositiveInt | None, optional("INT")] = Field(
        default=None, description="instead of PyTorch's own number"
    )

    @property
    def shapes(self) -> list[Shape]:
        """What is measured."""
        if self.quick:
            return [Shape("tiny", 192, batch=4, grid=(4, 4), num_classes=10)]
        return [Shape(name, dim, self.batch) for name, dim in BACKBONES.items()]


def measured(shape: Shape, names: Sequence[str], tokens: torch.Tensor, rounds: int) -> list[ProbeTimes]:
    """Every probe of `names`; of one that cannot have tokens of this shape, says so."""
    found = []
    with Progress(console=CONSOLE, transient=True, disable=not CONSOLE.is_terminal) as progress:
        for name in progress.track(names, description=shape.name):
            try:
                found.append(time_probe(name, shape, tokens, rounds))
            except UserError as error:
                CONSOLE.print(f"{shape.name}: no {name}. {error}", markup=False)
    return found


def print_times(shape: Shape, times: Sequence[ProbeTimes]) -> None:
    """One row for each probe, at most 100 columns wide."""
    table = Table(
        title=f"{shape.name}: batches of {shape.batch}, N = {shape.num_tokens}, D = {shape.dim}",
        title_justify="left",
        caption="× published, × MHA: how many times faster ours is than the published form and than "
        "nn.MultiheadAttention, forward │ forward and backward; % matmul: FLOP/s of forward and backward "
        "as a share of those of the product of all tokens with a D × D matrix; GFLOPs: of one image",
        caption_justify="left",
        box=SIMPLE,
    )
    table.add_column("probe", no_wrap=True)
    columns = ("parameters", "GFLOPs", "fwd ms", "+bwd ms", "× published", "× MHA", "% matmul")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for row in times:
        table.add_row(*_cells(row), style="bold green" if row.name == "ep32" else "")
    CONSOLE.print(table)


def _cells(row: ProbeTimes) -> Sequence[str]:
    forward, both = row.forward, row.both
    plain = ""
    if forward.times_attention is not None and both.times_attention is not None:
        plain = f"{forward.times_attention:.1f} │ {both.times_attention:4.1f}"
    return (
        row.name,
        f"{row.parameters:,}",
        f"{row.gflops:.4f}",
        f"{1e3 * forward.seconds:.1f}",
        f"{1e3 * both.seconds:.1f}",
        f"{forward.times_published:.1f} │ {both.times_published:4.1f}",
        plain,
        f"{100 * both.matmul_share:.0f}",
    )


def print_floor(shape: Shape, rows: Sequence[FloorRow]) -> None:
    """What is left of EP32's time."""
    table = Table(
        title=f"{shape.name}: EP32's floor; the products by PyTorch's own matmul",
        title_justify="left",
        box=SIMPLE,
    )
    table.add_column("", no_wrap=True)
    for column in ("ms", "GB/s", "GFLOP/s", "% of EP32"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        rates = [f"{r / row.seconds:,.0f}" if r else "" for r in (row.gigabytes, row.gflops)]
        table.add_row(row.label, f"{1e3 * row.seconds:.1f}", *rates, f"{100 * row.share:.0f}")
    CONSOLE.print(table)


def chart_section(shape: Shape, times: Sequence[ProbeTimes]) -> Section:
    """Speeds of forward and backward, as multiples of the published form's of the same probe."""
    label = "the published form of the same probe"
    rows = [_bar(label, "ceiling", 1.0, times[0].both, PUBLISHED, shape)]
    for row in times:
        rows.append(_bar(row.name, "ours", row.both.times_published, row.both, OURS, shape))
        if row.both.times_attention is not None:
            speed = row.both.times_published / row.both.times_attention
            name = f"{ATTENTION} for {row.name}"
            rows.append(_bar(name, "other", speed, row.both, ATTENTION, shape))
    rows.sort(key=lambda row: row.ceiling_share, reverse=True)
    title = f"{shape.name}, batch of {shape.batch}: forward and backward"
    return Section(shape.name, title, label, tuple(rows))


def _bar(label: str, role: Role, share: float, step: StepTimes, form: str, shape: Shape) -> Row:
    taken, published = (step.seconds_of_rounds[key] for key in (form, PUBLISHED))
    ratios = [theirs / ours for theirs, ours in zip(published, taken, strict=True)]
    seconds = tuple(found / shape.batch for found in taken)
    fastest = min(published) / min(taken)
    return Row(label, role, 0, 1 / min(seconds), share, fastest, min(ratios), max(ratios), seconds)


def run(options: ProbeBenchOptions) -> None:
    """Measure, print, save, draw."""
    refuse_what_cannot_be_saved(options)
    for name in options.probe:
        if name not in PUBLISHED_FORMS:
            raise unknown_name("probe", name, list(PUBLISHED_FORMS))
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    facts = machine_facts() | {"threads": torch.get_num_threads(), "dtype": options.dtype}
    CONSOLE.print(
        f"{facts['cpu']}, {facts['threads']} of {facts['cores']} cores, {options.dtype}; "
        f"load average before: {facts['load_average_before']:.1f}"
    )
    rounds = QUICK_ROUNDS if options.quick else options.rounds
    results: list[dict[str, Any]] = []
    sections = []
    for shape in options.shapes:
        tokens = shape.tokens(getattr(torch, options.dtype))
        times = measured(shape, options.probe, tokens, rounds)
        print_times(shape, times)
        floor = attention_floor(shape, tokens, rounds)
        print_floor(shape, floor)
        results.append({"shape": shape, "probes": times, "floor": floor})
        sections.append(chart_section(shape, times))
    keep(options, sections, script=PROGRAM, machine=facts, results=results)


if __name__ == "__main__":
    sys.exit(run_command(PROGRAM, lambda: run(parse(ProbeBenchOptions, prog=PROGRAM))))

"""Batches from host memory to a CUDA device through `TokenLoader`, against plain page-locked copies.

    python benchmarks/bench_transfer.py [--folder DIR] [--json FILE] [--trace FILE.json]

On a generated store (ViT-L/16, float16 and int8), tier `host`, in one run:

1. copying one page-locked batch to the device, again and again: what the link gives;
2. an epoch of `TokenLoader` that nobody uses: gathering and copying;
3. a training epoch of EP32: where it takes as long as 2, the step never waits for anything but the link, and
   where it takes as long as its steps alone (the same batch again, on the device), for nothing at all.

`--trace` saves what CPU and device did in twenty steps of 3, for chrome://tracing or Perfetto: copies lie on
a stream of their own, beside the steps. Without a CUDA device, `--quick` runs tiny sizes on the CPU, to see
that it runs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

import torch
from files import scratch
from generated_store import Generated, generate, trial_stack
from own_store import open_store
from pydantic import Field, PositiveInt
from report import CONSOLE, JsonFile, machine_facts, save
from torch.profiler import ProfilerActivity, profile

from cache import Residency, TokenBatch, TokenDtype, TokenLoader
from configs import FrozenModel, UserError, in_bytes, optional, parse, run_command
from probe import FedStack, TokenInputs, train_epoch

PROGRAM = "bench_transfer.py"
DTYPES: tuple[TokenDtype, ...] = ("float16", "int8")
TRACED_STEPS = 20
QUICK = {"records": 256, "shard": 128, "batch": 32, "tokens": 16, "dim": 64}


class TransferBenchOptions(FrozenModel):
    """Measure the way of tokens from host memory to a CUDA device."""

    folder: Path = Field(default=Path("bench_transfer.tmp"), description="a store; made and removed")
    records: PositiveInt = Field(default=32768, description="images in the store, a multiple of 1,024")
    batch_size: PositiveInt = Field(default=1024, description="images in a step")
    quick: bool = Field(default=False, description="tiny sizes, also on a CPU; no real figures")
    json_: JsonFile = None
    trace: Annotated[Path | None, optional("FILE.json")] = Field(
        default=None, description="save a trace of some steps; not by default"
    )

    @property
    def workload(self) -> Generated:
        """Sizes."""
        if self.quick:
            return Generated(**QUICK)
        return Generated(self.records, 1024, self.batch_size, tokens=196, dim=1024)


def finished(device: torch.device) -> float:
    """Now, when the device has done what was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def plain_copies(batch: TokenBatch, copies: int, device: torch.device) -> float:
    """Seconds of so many copies of one page-locked batch."""
    source = batch.pin_memory() if device.type == "cuda" else batch
    target = batch.to(device)
    names = [name for name in ("patches", "patches_scale") if getattr(source, name) is not None]
    pairs = [(getattr(source, name), getattr(target, name)) for name in names]
    began = finished(device)
    for _ in range(copies):
        for held, there in pairs:
            there.copy_(held, non_blocking=True)
    return finished(device) - began


def drained(batches: Iterator[TokenBatch], device: torch.device) -> float:
    """Seconds of an epoch that nobody uses."""
    began = finished(device)
    for _ in batches:
        pass
    return finished(device) - began


def measure(
    folder: Path, workload: Generated, dtype: TokenDtype, device: torch.device, trace: Path | None
) -> dict[str, float]:
    """Seconds of each way, for an epoch."""
    generate(folder, workload, dtype)
    dataset = open_store(folder)
    loader = TokenLoader(
        dataset, workload.batch, shuffle=True, drop_last=True, device=device, residency=Residency("host", 0)
    )
    inputs = TokenInputs("pre", None, None, kernel="auto")  # as `probe` has it
    fed = FedStack(trial_stack(workload, 1, len(loader), device), inputs)
    held = next(iter(loader))
    train_epoch([fed], ((held,) for _ in range(3)))  # libraries are set up
    seconds = {"loader": min(drained(iter(loader), device) for _ in range(3))}
    host = TokenLoader(dataset, workload.batch, residency=Residency("host", 0))
    seconds["plain copies"] = min(plain_copies(next(iter(host)), len(loader), device) for _ in range(3))
    for label, batches in (("training", loader), ("steps alone", [held] * len(loader))):
        taken = []
        for _ in range(3):
            began = finished(device)
            train_epoch([fed], ((batch,) for batch in batches))
            taken.append(finished(device) - began)
        seconds[label] = min(taken)
    if trace is not None:
        activities = [ProfilerActivity.CPU]
        activities += [ProfilerActivity.CUDA] if device.type == "cuda" else []
        with profile(activities=activities) as profiled:
            train_epoch([fed], ((batch,) for batch in islice(loader, TRACED_STEPS)))
        profiled.export_chrome_trace(str(trace))
    return seconds


def run(options: TransferBenchOptions) -> None:
    """Measure, print, save."""
    if not options.quick and not torch.cuda.is_available():
        raise UserError("a CUDA device is needed, and there is none: --quick runs tiny sizes on the CPU")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    workload, facts = options.workload, machine_facts()
    results = {}
    for number, dtype in enumerate(DTYPES):
        with scratch(options.folder, 2 * workload.bytes) as folder:
            trace = options.trace if number == 0 else None
            seconds = measure(folder, workload, dtype, device, trace)
            size = len(open_store(folder)) * open_store(folder).record_bytes
        results[dtype] = {"bytes": size, "seconds": seconds}
        rate = in_bytes(int(size / seconds["plain copies"]))
        CONSOLE.print(
            f"{dtype}: {in_bytes(size)} on {device}, plain copies {rate}/s; "
            f"loader {seconds['plain copies'] / seconds['loader']:.2f} of that rate; "
            f"training {seconds['training']:.3f} s, its steps alone {seconds['steps alone']:.3f} s, "
            f"loader alone {seconds['loader']:.3f} s"
        )
    if options.json_ is not None:
        save(options.json_, script=PROGRAM, quick=options.quick, machine=facts, results=results)


if __name__ == "__main__":
    sys.exit(run_command(PROGRAM, lambda: run(parse(TransferBenchOptions, prog=PROGRAM))))

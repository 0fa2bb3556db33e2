"""A grid of trials against single runs: what stacking, sharing batches and reading means alone save.

    python benchmarks/bench_sweep.py --folder /tmp/sweep [--json FILE] [--quick]

Four questions, each answered in one run on the CPU:

1. Eight learning rates of EP32 (D = 384, N = 196, 1000 classes) in one stack: which share of the machine's
   own float32 matrix-multiply rate do their steps reach, and how much cheaper are they than eight runs of the
   plain module (the published formulation, autograd, `torch.optim.AdamW`)? Both begin with the float16 tokens
   of a batch. Arithmetic is counted by torch's FLOP counter, forward and backward.
2. Streamed from disk, what do 2, 4, 8, 16 trials cost against one, and from where does arithmetic bind: when
   does it alone take longer than an epoch of one trial, reading included?
3. Linear probes: 32 trials against their arithmetic (the same steps on means in memory).
4. LP reads no patch tokens: bytes of a record that it reads.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from files import drop_from_cache
from own_store import open_store, write_store
from published_probes import published_probe
from report import CONSOLE, machine_facts, save
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode
from workload import QUICK, Workload

from cache import Residency, TokenBatch
from configs import RecipeConfig
from probe import FedStack, TokenInputs, TrainingSetting, TrialStack, train_epoch
from probe.freed_memory import keep_freed_memory
from probe.names import probe_spec
from probe.split_batches import SplitBatches

CPU = torch.device("cpu")
aten = torch.ops.aten
STREAM_ROUNDS = 3


@dataclass(frozen=True)
class Sizes:
    """What is measured; the store's are those of `Workload`."""

    batch: int = 256
    tokens: int = 196
    dim: int = 384
    classes: int = 1000
    rounds: int = 7

    @property
    def grid(self) -> tuple[int, int]:
        """A square one."""
        side = round(self.tokens**0.5)
        return side, side


QUICK_SIZES = Sizes(batch=QUICK.batch, tokens=QUICK.tokens, dim=QUICK.dim, classes=10, rounds=1)


def recipe(sizes: Sizes) -> RecipeConfig:
    """AdamW on the benchmark's batch."""
    return RecipeConfig(
        name="benchmark",
        reference="none",
        optimizer="adamw",
        lr=(1e-3,),
        lr_per_256=False,
        batch_size=sizes.batch,
        epochs=100,
        warmup_epochs=0,
        weight_decay=(0.0,),
    )


def trials(name: str, count: int, sizes: Sizes) -> TrialStack:
    """`count` learning rates of one probe."""
    settings = [TrainingSetting(recipe(sizes), 1e-4 * 1.3**k, 0.0, k, 16) for k in range(count)]
    return TrialStack(name, sizes.dim, sizes.classes, settings, CPU, grid=sizes.grid)


def seconds_of(work: Callable[[], object], rounds: int) -> float:
    """Median, after one round to warm up."""
    work()
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def product_flop(_: torch.Size, left: torch.Size, right: torch.Size, *rest: object, **options: object) -> int:
    """Of `found += left @ right`."""
    return 2 * left.numel() * right[-1]


def matmul_rate(rounds: int) -> float:
    """FLOP/s of the machine's own float32 product of 2048 × 2048 matrices."""
    left, right = torch.randn(2, 2048, 2048)
    return 2 * 2048**3 / seconds_of(lambda: left @ right, 3 * rounds)


def stacked_steps(sizes: Sizes, count: int = 8) -> dict[str, Any]:
    """Question 1."""
    stored = torch.randn(sizes.batch, sizes.tokens, sizes.dim).half()
    labels = torch.randint(sizes.classes, (sizes.batch,))
    stack = trials("ep32", count, sizes)
    plain = published_probe("ep32", sizes.dim, sizes.classes, sizes.grid)
    optimizer = torch.optim.AdamW(plain.parameters(), 1e-3)

    def plain_step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(plain(stored.float()), labels).backward()
        optimizer.step()

    def stack_step() -> None:
        stack.step(stored.float(), labels)

    in_place = {aten.addmm_: product_flop, aten.baddbmm_: product_flop}  # torch counts neither
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        stack_step()
    flops = counter.get_total_flops()
    taken: dict[str, list[float]] = {"matmul": [], "stack": [], "plain": []}
    for _ in range(sizes.rounds):  # in turn, so that all meet the same machine
        taken["matmul"].append(2 * 2048**3 / matmul_rate(1))
        taken["stack"].append(seconds_of(stack_step, 1))
        taken["plain"].append(seconds_of(plain_step, 1))
    median = {name: statistics.median(values) for name, values in taken.items()}
    rate, reached = 2 * 2048**3 / median["matmul"], flops / median["stack"]
    return {
        "trials": count,
        "gflop_per_step": flops / 1e9,
        "matmul_gflops_per_second": rate / 1e9,
        "stack_gflops_per_second": reached / 1e9,
        "share_of_matmul_rate": reached / rate,
        "stack_seconds": median["stack"],
        "plain_seconds_for_all": count * median["plain"],
        "cheaper_than_single_runs": count * median["plain"] / median["stack"],
    }


def streamed_epochs(folder: Path, sizes: Sizes, probe: str, counts: Sequence[int]) -> list[dict[str, Any]]:
    """Question 2: an epoch read from the disk, cold, against the same steps without reading."""
    dataset = open_store(folder)
    residency = Residency("stream", 8 * sizes.batch * dataset.record_bytes)
    inputs = TokenInputs("pre", None, None)
    tokens = torch.randn(sizes.batch, sizes.tokens, sizes.dim).half()
    held = TokenBatch(torch.zeros(sizes.batch, dtype=torch.long), torch.arange(sizes.batch), patches=tokens)
    rows: list[dict[str, Any]] = []
    for count in counts:
        fed = FedStack(trials(probe, count, sizes), inputs)
        batches = SplitBatches([dataset], sizes.batch, residency=residency, device=CPU, training=True)

        def stream(fed: FedStack = fed, batches: SplitBatches = batches) -> None:
            drop_from_cache(folder)
            train_epoch([fed], batches)

        def compute(fed: FedStack = fed, number: int = len(batches)) -> None:
            train_epoch([fed], ((held,) for _ in range(number)))

        streamed, computed = seconds_of(stream, STREAM_ROUNDS), seconds_of(compute, STREAM_ROUNDS)
        rows.append({"probe": probe, "trials": count, "streamed": streamed, "computed": computed})
    for row in rows:
        row["times_one_trial"] = row["streamed"] / rows[0]["streamed"]
    return rows


def linear_trials(sizes: Sizes, count: int = 32) -> dict[str, Any]:
    """Question 3: whole steps of a stack of linear probes against their matrix products alone."""
    images = 4 * sizes.batch  # recipes have 1,024 and more
    means, labels = torch.randn(images, sizes.dim), torch.randint(sizes.classes, (images,))
    stack = trials("lp_mean", count, sizes)
    rows, gradients = torch.randn(count, images, sizes.dim), torch.randn(count, images, sizes.classes)
    weights = torch.randn(count, sizes.classes, sizes.dim)

    def arithmetic() -> None:
        torch.bmm(rows, weights.mT)
        torch.bmm(gradients.mT, rows)

    whole = seconds_of(lambda: stack.step(means, labels), sizes.rounds)
    products = seconds_of(arithmetic, sizes.rounds)
    return {"trials": count, "step_seconds": whole, "arithmetic_seconds": products, "times": whole / products}


def bytes_read(sizes: Sizes) -> dict[str, int]:
    """Question 4: of an image, by the probes' token sets."""
    inputs = TokenInputs("pre", None, 0)
    values = {"patches": sizes.tokens * sizes.dim * 2, "prefix": sizes.dim * 2, "mean": sizes.dim * 4}
    return {
        probe: sum(values[array] for array in inputs.arrays([probe_spec(probe).token_set]))
        for probe in ("lp", "lp_mean", "ep32")
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="for a store of 308 MB; must not exist")
    parser.add_argument("--json", type=Path, help="save every number and the facts of the machine")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    arguments = parser.parse_args()
    keep_freed_memory()  # as `probe` does; the plain module gains too
    sizes = QUICK_SIZES if arguments.quick else Sizes()
    workload = QUICK if arguments.quick else Workload(records=2048)
    facts = machine_facts()
    arguments.folder.mkdir()
    try:
        write_store(arguments.folder, workload, "zarr")
        result = {
            "stack": stacked_steps(sizes),
            "streamed": [
                row
                for probe in ("abmilp_linear", "ep8", "ep32")
                for row in streamed_epochs(arguments.folder, sizes, probe, (1, 2, 4, 8, 16))
            ],
            "linear": linear_trials(sizes),
            "bytes_read": bytes_read(sizes),
        }
    finally:
        shutil.rmtree(arguments.folder)
    show(result)
    if arguments.json:
        save(arguments.json, machine=facts, sizes=asdict(sizes), **result)


def show(result: dict[str, Any]) -> None:
    """Print what was found."""
    stack = result["stack"]
    CONSOLE.print(
        f"{stack['trials']} learning rates of ep32 in one stack: {stack['gflop_per_step']:.1f} GFLOP a step "
        f"at {stack['stack_gflops_per_second']:.0f} GFLOP/s, {stack['share_of_matmul_rate']:.2f} of the rate "
        f"of matrix products ({stack['matmul_gflops_per_second']:.0f}); "
        f"{stack['cheaper_than_single_runs']:.1f} × cheaper than {stack['trials']} runs of the plain module"
    )
    table = Table(title="an epoch streamed from disk")
    for column in ("probe", "trials", "seconds", "× one trial", "without reading", "bound by"):
        table.add_column(column, justify="left" if column == "probe" else "right")
    for row in result["streamed"]:
        alone = next(r["streamed"] for r in result["streamed"] if r["probe"] == row["probe"])  # one trial
        bound = "arithmetic" if row["computed"] > alone else "reading"
        cells = (f"{row['streamed']:.2f}", f"{row['times_one_trial']:.2f}", f"{row['computed']:.2f}", bound)
        table.add_row(row["probe"], str(row["trials"]), *cells)
    CONSOLE.print(table)
    linear = result["linear"]
    CONSOLE.print(
        f"{linear['trials']} linear probes: a step takes {linear['times']:.2f} × its matrix products alone\n"
        f"bytes read of an image: {result['bytes_read']}"
    )


if __name__ == "__main__":
    main()

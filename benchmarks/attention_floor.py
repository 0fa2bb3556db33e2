"""What efficient probing could cost at least: reading the tokens, and its matrix products alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from probe_times import OURS, Entrant, Shape, Step, step_flops, take_turns_in_steps, times_as_long
from torch.utils.flop_counter import FlopCounterMode

from probe import build_probe

NAME, QUERIES = "ep32", 32


@dataclass(frozen=True)
class FloorRow:
    """One part of the work on a batch, fastest round; `share`: of EP32's time, forward and backward."""

    label: str
    seconds: float
    gigabytes: float | None
    """Of tokens, where reading them is all it does."""
    gflops: float | None
    share: float
    seconds_of_rounds: Sequence[float]


def _products(tokens_BND: torch.Tensor, shape: Shape) -> dict[str, Step]:
    """EP's matrix products in PyTorch's own words, on matrices of its shapes.

    M queries, D channels of a token, E = D / M, C classes.
    """
    queries_MD, weights_BMN, pooled_BMD, values_MED, classifier_CD = (
        torch.randn(size).to(tokens_BND.dtype)
        for size in (
            (QUERIES, shape.dim),
            (shape.batch, QUERIES, shape.num_tokens),
            (shape.batch, QUERIES, shape.dim),
            (QUERIES, shape.dim // QUERIES, shape.dim),
            (shape.num_classes, shape.dim),
        )
    )

    def forward() -> None:
        _ = queries_MD @ tokens_BND.mT
        _ = weights_BMN @ tokens_BND

    def both() -> None:
        forward()
        _ = pooled_BMD @ tokens_BND.mT
        _ = weights_BMN.transpose(0, 1).flatten(1) @ tokens_BND.flatten(0, 1)

    def every() -> None:
        both()
        for left, right in ((pooled_BMD.transpose(0, 1), values_MED), (tokens_BND[:, 0], classifier_CD)):
            found = left @ right.mT
            _ = found @ right
            _ = found.mT @ left

    return {
        "its 2 products with the tokens, forward": forward,
        "its 4 products with the tokens, backward too": both,
        "all its 10 products, backward too": every,
    }


def _read(tokens: torch.Tensor, times: int) -> None:
    for _ in range(times):
        tokens.sum()


def attention_floor(shape: Shape, tokens: torch.Tensor, rounds: int) -> list[FloorRow]:
    """Every part and EP32 itself, in turn."""
    probe = Entrant(build_probe(NAME, shape.dim, shape.num_classes, shape.grid).to(tokens.dtype), tokens)
    work = _products(tokens, shape)
    reads: dict[str, tuple[int, Step]] = {
        "tokens read once (sum)": (1, partial(_read, tokens, 1)),
        "tokens copied": (1, partial(torch.empty_like(tokens).copy_, tokens)),
        "tokens read twice": (2, partial(_read, tokens, 2)),
    }
    own = {f"{NAME}, forward": probe.forward, OURS: probe.both}
    steps: dict[str, Step] = {label: step for label, (_, step) in reads.items()}
    seconds = take_turns_in_steps({**steps, **work, **own}, rounds)
    gigabytes = {label: times * tokens.nbytes / 1e9 for label, (times, _) in reads.items()}
    flops = {label: _counted(step) for label, step in work.items()}
    flops |= {label: step_flops(NAME, shape, backward=label == OURS) for label in own}
    return [
        FloorRow(
            f"{NAME}, forward and backward" if label == OURS else label,
            min(taken),
            gigabytes.get(label),
            flops[label] / 1e9 if label in flops else None,
            times_as_long(seconds, label),
            tuple(taken),
        )
        for label, taken in seconds.items()
    ]


def _counted(step: Step) -> int:
    with FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())

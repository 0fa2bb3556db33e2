"""How long a probe takes, beside its published form, `nn.MultiheadAttention` and the machine's matmul."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from measure import Contender, take_turns
from published_probes import PLAIN_HEADS, copy_weights, plain_attention_probe, published_probe
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from probe import Probe, build_probe
from probe.cost import probe_cost, tokens_like

OURS, PUBLISHED, ATTENTION, MATMUL = "ours", "published", "nn.MultiheadAttention", "matmul"

CHECKED = 3
"""Images on which forms are compared before they are timed, in float64."""

TOLERANCE = 1e-5
"""Largest difference, relative to the largest logit. What is read may have been rounded to float32 before."""

DISTURBANCE = 0.05
"""Noise on every parameter, as a start at zero, or a LayerScale of 1e-5, would hide mistakes."""

SHORTEST, LONGEST, FEWEST_ROUNDS = 0.005, 30.0, 3
"""Seconds of one measurement, reached by repeating, and of all rounds of a step, unless that is too few."""

Step = Callable[[], object]


@dataclass(frozen=True)
class Shape:
    """Tokens of one batch, (batch, N, D), and the number of classes."""

    name: str
    dim: int
    batch: int
    grid: tuple[int, int] = (14, 14)
    num_classes: int = 1000

    @property
    def num_tokens(self) -> int:
        """N."""
        return self.grid[0] * self.grid[1]

    def tokens(self, dtype: torch.dtype) -> torch.Tensor:
        """Tokens of a spread and a mean that a norm would change."""
        drawn = torch.Generator().manual_seed(0)
        return (0.4 + 1.7 * torch.randn(self.batch, self.num_tokens, self.dim, generator=drawn)).to(dtype)

    @property
    def matmul_flops(self) -> int:
        """Of a matrix (batch · N, D) times one of (D, D), by which the machine's own rate is found."""
        return 2 * self.batch * self.num_tokens * self.dim**2


@dataclass(frozen=True)
class StepTimes:
    """Of one step (forward, or forward and backward) of a batch."""

    seconds: float
    """Ours, the fastest round."""
    flops: int
    """Ours, as torch's FLOP counter counts."""
    times_published: float
    """How many times faster ours is: the median of the rounds' ratios."""
    times_attention: float | None
    matmul_share: float
    """FLOP/s as a share of the machine's own matrix product's in the same rounds."""
    seconds_of_rounds: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class ProbeTimes:
    """One probe."""

    name: str
    parameters: int
    gflops: float
    """Of one image, forward."""
    forward: StepTimes
    both: StepTimes


@dataclass(frozen=True)
class Entrant:
    """A form of a probe, what it reads, and the steps that are timed."""

    module: nn.Module
    inputs: torch.Tensor

    def forward(self) -> torch.Tensor:
        """Logits of a batch, by its own statistics, with nothing kept for a gradient."""
        with torch.no_grad():
            found: torch.Tensor = self.module(self.inputs)
        return found

    def both(self) -> None:
        """Forward, and backward to every parameter; the tokens are data and get no gradient."""
        self.module.zero_grad()
        _loss(self.module(self.inputs)).backward()

    def on(self, dtype: torch.dtype, images: int | None = None) -> Entrant:
        """A copy in `dtype` that reads the first `images` alone."""
        return Entrant(copy.deepcopy(self.module).to(dtype), self.inputs[:images].to(dtype))


def _loss(logits: torch.Tensor) -> torch.Tensor:
    """Of logits (B, C) or (1, B, C), the sum over the images. All are of one class, which costs the same."""
    rows = logits.flatten(end_dim=-2)
    return F.cross_entropy(rows, rows.new_zeros(len(rows), dtype=torch.long), reduction="sum")


def time_probe(name: str, shape: Shape, tokens: torch.Tensor, rounds: int) -> ProbeTimes:
    """Check the probe `name` against its published form, and time both.

    Raises `UserError` where the probe cannot have such tokens, `RuntimeError` where the forms differ.
    """
    entrants = _entrants(name, shape, tokens)
    cost = probe_cost(name, shape.dim, shape.num_classes, shape.grid)
    steps = [
        _step_times(
            {label: getattr(entrant, part) for label, entrant in entrants.items()},
            step_flops(name, shape, backward=part == "both"),
            tokens,
            shape,
            rounds,
        )
        for part in ("forward", "both")
    ]
    return ProbeTimes(name, cost.parameters, cost.gflops, *steps)


def _entrants(name: str, shape: Shape, tokens: torch.Tensor) -> dict[str, Entrant]:
    """The forms by their labels, with the same weights where they have the same parameters."""
    torch.manual_seed(0)
    ours = build_probe(name, shape.dim, shape.num_classes, shape.grid)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(DISTURBANCE * torch.randn_like(parameter))
    published = published_probe(name, shape.dim, shape.num_classes, shape.grid)
    copy_weights(ours, published)
    read = _read_by(ours, tokens)
    entrants = {
        OURS: Entrant(ours, read),
        # the store has the mean token; the published form takes the mean of the tokens in every step
        PUBLISHED: Entrant(published, tokens if ours.token_set == "mean" else read),
    }
    require_same(name, *(entrant.on(torch.float64, CHECKED) for entrant in entrants.values()))
    if name in PLAIN_HEADS:
        entrants[ATTENTION] = Entrant(plain_attention_probe(name, shape.dim, shape.num_classes), read)
    for entrant in entrants.values():
        entrant.module.to(tokens.dtype)
    return entrants


def _read_by(probe: Probe, tokens: torch.Tensor) -> torch.Tensor:
    if probe.token_set == "cls":
        return tokens[:, 0].contiguous()
    return tokens.mean(dim=1) if probe.token_set == "mean" else tokens


def require_same(name: str, ours: Entrant, published: Entrant) -> None:
    """Raise `RuntimeError` unless both give the same logits."""
    found, wanted = ours.forward()[0], published.forward()
    difference = ((found - wanted).abs().max() / wanted.abs().max()).item()
    if not difference < TOLERANCE:  # nor where it is not a number
        raise RuntimeError(f"{name} differs from its published form by {difference:.1e}")


def step_flops(name: str, shape: Shape, *, backward: bool) -> int:
    """Of our forward pass of a batch, or of forward and backward, counted on shapes without values."""
    with torch.device("meta"):
        probe = build_probe(name, shape.dim, shape.num_classes, shape.grid)
    entrant = Entrant(probe, tokens_like(name, shape.batch, shape.dim, shape.grid))
    with FlopCounterMode(display=False) as counter:
        (entrant.both if backward else entrant.forward)()
    return int(counter.get_total_flops())


def machine_product(tokens: torch.Tensor) -> Step:
    """The matrix product of all tokens and a square matrix."""
    rows = tokens.flatten(0, 1)
    return partial(torch.mm, rows, torch.randn(rows.shape[1], rows.shape[1]).to(rows.dtype))


def take_turns_in_steps(steps: Mapping[str, Step], rounds: int) -> dict[str, list[float]]:
    """Seconds of each step in each round; quick ones are repeated, and slow ones get fewer rounds."""
    warm = {label: _seconds(step) for label, step in steps.items()}
    repeats = {label: max(1, round(SHORTEST / seconds)) for label, seconds in warm.items()}
    affordable = int(LONGEST / sum(repeats[label] * seconds for label, seconds in warm.items()))
    contenders = [
        Contender(label, partial(_repeat, step, repeats[label]), 0) for label, step in steps.items()
    ]
    return take_turns(contenders, min(rounds, max(FEWEST_ROUNDS, affordable)), "")


def _seconds(step: Step) -> float:
    """Of the second time."""
    step()
    begin = time.perf_counter()
    step()
    return time.perf_counter() - begin


def _repeat(step: Step, times: int) -> int:
    for _ in range(times):
        step()
    return times


def _step_times(
    steps: dict[str, Step], flops: int, tokens: torch.Tensor, shape: Shape, rounds: int
) -> StepTimes:
    seconds = take_turns_in_steps({**steps, MATMUL: machine_product(tokens)}, rounds)
    return StepTimes(
        seconds=min(seconds[OURS]),
        flops=flops,
        times_published=times_as_long(seconds, PUBLISHED),
        times_attention=times_as_long(seconds, ATTENTION) if ATTENTION in seconds else None,
        matmul_share=times_as_long(seconds, MATMUL) * flops / shape.matmul_flops,
        seconds_of_rounds={label: tuple(taken) for label, taken in seconds.items()},
    )


def times_as_long(seconds: Mapping[str, Sequence[float]], label: str, other: str = OURS) -> float:
    """How many times as long `label` takes as `other`: the median of the ratios within a round."""
    return statistics.median(a / b for a, b in zip(seconds[label], seconds[other], strict=True))

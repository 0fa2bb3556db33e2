"""Probe names: what each is made of."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from configs import UserError, unknown_name
from probe.poolings import EfficientPooling

TokenSet: TypeAlias = Literal["cls", "mean", "patches", "all"]
"""What a pooling reads: [CLS] (B, D), mean patch token (B, D), patches (B, N, D), or [CLS] + patches."""

EXAMPLES = ("lp", "lp_mean", "ep8", "ep16", "ep32", "ep64", "ep32_d8", "ep32+cls")


@dataclass(frozen=True)
class ProbeSpec:
    """A probe by name: the tokens it reads and how to make its pooling for a token width D."""

    name: str
    token_set: TokenSet
    pooling: Callable[[int], EfficientPooling | None]
    """D → the pooling; None where the tokens are one vector already."""


def probe_spec(name: str) -> ProbeSpec:
    """Understand a probe's name. Raises `UserError` with the nearest names.

    `lp` linear on [CLS]; `lp_mean` linear on the mean patch token; `epM` efficient probing with M
    queries (32 when absent), `epM_dK` with its output width divided by K; `+cls` adds [CLS] to the patches.
    """
    if name == "lp":
        return ProbeSpec(name, "cls", lambda dim: None)
    if name == "lp_mean":
        return ProbeSpec(name, "mean", lambda dim: None)
    match = re.fullmatch(r"ep(?P<queries>\d+)?(?:_d(?P<divisor>\d+))?(?P<cls>\+cls)?", name)
    if match is None:
        if name in ("lp+cls", "lp_mean+cls"):
            raise UserError(
                f"probe '{name}': +cls adds [CLS] to the tokens of an attentive probe; "
                "lp is the linear probe on [CLS]"
            )
        raise unknown_name("probe", name, EXAMPLES)
    queries, divisor = int(match["queries"] or 32), int(match["divisor"] or 1)
    if not queries or not divisor:
        raise UserError(f"probe '{name}': the numbers of queries and of the divisor start at 1")
    shrunk = f"_d{divisor}" if divisor > 1 else ""
    return ProbeSpec(
        f"ep{queries}{shrunk}{match['cls'] or ''}",
        "all" if match["cls"] else "patches",
        lambda dim: EfficientPooling(dim, queries, divisor),
    )

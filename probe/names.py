"""Probe names: what each is made of."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import nn

from configs import UserError, unknown_name
from probe.families import FAMILIES, Family, TokenGeometry

TokenSet: TypeAlias = Literal["cls", "mean", "patches", "all"]
"""What a pooling reads: [CLS] (B, D), mean patch token (B, D), patches (B, N, D), or [CLS] + patches."""

LINEAR: dict[str, TokenSet] = {"lp": "cls", "lp_mean": "mean"}
"""Linear probes, which have no pooling, and the vector that each reads."""

CLOSED_FORM = ("knn", "knn_mean", "knn_both", "logreg", "logreg_mean", "logreg_both")
"""Classifiers that are computed from whole splits of features, not trained in steps."""

NUMBERED = ("ep", "mhca")
"""Families whose full names always state the number: ep32, mhca8."""


@dataclass(frozen=True)
class ProbeSpec:
    """A probe by name: the tokens it reads and how to make its pooling for tokens of a geometry."""

    name: str
    token_set: TokenSet
    family: Family | None
    pooling: Callable[[TokenGeometry], nn.Module | None]
    """None where the tokens are one vector already."""


def probe_spec(name: str) -> ProbeSpec:
    """Understand the name of a probe that is trained. Raises `UserError` with the nearest names.

    `lp` linear on [CLS]; `lp_mean` linear on the mean patch token; a family of `FAMILIES`, then its number of
    queries or heads (the published one when absent), `_dK` for EP's output width divided by K, and `+cls` to
    add [CLS] to the patches.
    """
    if name in LINEAR:
        return ProbeSpec(name, LINEAR[name], None, lambda tokens: None)
    if name in [f"{linear}+cls" for linear in LINEAR]:
        raise UserError(
            f"probe '{name}': +cls adds [CLS] to the tokens of an attentive probe; "
            "lp is the linear probe on [CLS]"
        )
    family = next((f for f in sorted(FAMILIES, key=len, reverse=True) if name.startswith(f)), "")
    match = re.fullmatch(r"(?P<number>\d+)?(?:_d(?P<divisor>\d+))?(?P<cls>\+cls)?", name[len(family) :])
    if not family or match is None:
        raise unknown_name("probe", name, known_names())
    return _attentive(name, FAMILIES[family], match["number"], match["divisor"], cls=bool(match["cls"]))


def _attentive(name: str, family: Family, number: str | None, divisor: str | None, *, cls: bool) -> ProbeSpec:
    if number is not None and family.number is None:
        raise UserError(f"probe '{name}': {family.name} takes no number of heads")
    if divisor is not None and family.name != "ep":
        raise UserError(f"probe '{name}': _d{divisor} divides the output width of ep, not of {family.name}")
    count = family.number if number is None else int(number)
    shrink = int(divisor or 1)
    if count == 0 or shrink == 0:
        raise UserError(f"probe '{name}': the numbers of queries, heads and the divisor start at 1")
    shown = "" if count is None or (count == family.number and family.name not in NUMBERED) else str(count)
    full_name = family.name + shown + (f"_d{shrink}" if shrink > 1 else "") + ("+cls" if cls else "")
    return ProbeSpec(
        full_name, "all" if cls else "patches", family, lambda tokens: family.make(tokens, count or 0, shrink)
    )


def known_names() -> list[str]:
    """One name of each kind of probe, in the order of the documentation."""
    attentive = [f"{f.name}{f.number}" if f.name in NUMBERED else f.name for f in FAMILIES.values()]
    return [*LINEAR, *attentive, *CLOSED_FORM]

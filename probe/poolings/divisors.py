"""Numbers that divide a width, for the message that refuses one that does not."""

from __future__ import annotations

from configs import UserError


def nearest_divisors(wanted: int, width: int) -> str:
    """The three divisors of `width` that are nearest to `wanted`, as text."""
    fitting = [number for number in range(1, width + 1) if width % number == 0]
    return ", ".join(map(str, sorted(sorted(fitting, key=lambda number: abs(number - wanted))[:3])))


def check_heads(heads: int, dim: int) -> None:
    """Raise `UserError`, with numbers that fit, unless `heads` heads share `dim` channels evenly."""
    if heads < 1 or dim % heads:
        raise UserError(
            f"{heads} heads do not divide the token width {dim}: use {nearest_divisors(heads, dim)} heads"
        )

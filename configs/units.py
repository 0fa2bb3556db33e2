"""Numbers as people read them."""

from __future__ import annotations

_BYTES = ("B", "KB", "MB", "GB", "TB", "PB")
_SECONDS = ((365 * 86400, "years"), (86400, "days"), (3600, "h"), (60, "min"))


def in_bytes(count: float) -> str:
    """Decimal units with four digits: `401.4 KB`, `12.00 GB`."""
    unit = 0
    while count >= 999.95 and unit < len(_BYTES) - 1:
        count /= 1000
        unit += 1
    return f"{count:.0f} B" if unit == 0 else f"{count:,.{2 if count < 100 else 1}f} {_BYTES[unit]}"


def in_time(seconds: float) -> str:
    """The largest unit of which there are two at least: `90.0 s`, `3.2 h`."""
    for length, unit in _SECONDS:
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds:.2g} s"

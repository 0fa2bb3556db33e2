"""Every rate that is not stated, measured on this machine within half a minute; nothing is left behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from extract.planning.byte_rates import device_rates, disk_free, disk_rates, host_memory, host_rate
from extract.planning.image_rates import image_rates
from extract.planning.rates import Measured, Rates
from extract.planning.work import Work


@dataclass(frozen=True)
class Machine:
    """Every rate, stated or measured, and which of both."""

    rates: Rates
    origins: dict[str, str]


def measure_missing(stated: Rates, where: str, work: Work) -> Machine:
    """`stated` (in the file `where`), and measurements of what it leaves open."""
    found = {name: Measured(value, f"stated in {where}") for name, value in stated if value is not None}
    for names, measure in MEASUREMENTS.items():
        if not found.keys() >= set(names):
            found = dict(zip(names, measure(work), strict=True)) | found
    found = image_rates(work, stated) | found
    return Machine(
        Rates(**{name: measured.value for name, measured in found.items()}),
        {name: found[name].how for name in Rates.model_fields},
    )


def _no_probe(_: Work) -> tuple[Measured]:
    return (Measured(None, "not stated"),)


# what is free comes first, before anything measured takes up some of it
MEASUREMENTS: dict[tuple[str, ...], Callable[[Work], tuple[Measured, ...]]] = {
    ("host_memory_bytes",): host_memory,
    ("disk_free_bytes",): disk_free,
    ("device_bytes_per_second", "device_memory_bytes"): device_rates,
    ("host_bytes_per_second",): host_rate,
    ("disk_write_bytes_per_second", "disk_read_bytes_per_second"): disk_rates,
    ("probe_images_per_second",): _no_probe,
}

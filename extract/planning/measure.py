"""Every rate that is not stated, measured on this machine: a few seconds, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cache import chosen_device
from extract.planning.byte_rates import device_rates, disk_free, disk_rates, host_memory, host_rate
from extract.planning.image_rates import backbone_rate, decode_rate
from extract.planning.rates import Measured, Rates
from extract.planning.work import Work


@dataclass(frozen=True)
class Machine:
    """Every rate, stated or measured, and which of both."""

    rates: Rates
    origins: dict[str, str]
    shared_processor: bool
    """Decoding and the forward pass run on the same cores: their times add up."""


def measure_missing(stated: Rates, where: str, work: Work) -> Machine:
    """`stated` (in the file `where`), and measurements of what it leaves open."""
    found = {name: Measured(value, f"stated in {where}") for name, value in stated if value is not None}
    for names, measure in MEASUREMENTS.items():
        if not found.keys() >= set(names):
            found = dict(zip(names, measure(work), strict=True)) | found
    backbone_is_measured = stated.backbone_images_per_second is None
    return Machine(
        Rates(**{name: measured.value for name, measured in found.items()}),
        {name: found[name].how for name in Rates.model_fields},
        shared_processor=work.options.decoding_processes == 0
        or (backbone_is_measured and chosen_device(work.options.device).type == "cpu"),
    )


def _no_probe(_: Work) -> tuple[Measured]:
    return (Measured(None, "not stated: an epoch takes as long as its reading"),)


MEASUREMENTS: dict[tuple[str, ...], Callable[[Work], tuple[Measured, ...]]] = {
    ("backbone_images_per_second",): backbone_rate,
    ("decode_images_per_second",): decode_rate,
    ("disk_write_bytes_per_second", "disk_read_bytes_per_second"): disk_rates,
    ("host_bytes_per_second",): host_rate,
    ("device_bytes_per_second", "device_memory_bytes"): device_rates,
    ("probe_images_per_second",): _no_probe,
    ("disk_free_bytes",): disk_free,
    ("host_memory_bytes",): host_memory,
}

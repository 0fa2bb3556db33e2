"""ImageNet on ViT-L/16, and a machine whose rates are round numbers."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from extract.options import TokenOptions
from extract.planning.measure import Machine
from extract.planning.rates import Rates
from extract.planning.work import Work, plan_work


@pytest.fixture(scope="session")
def vit_large() -> Callable[..., Work]:
    """The work of extracting ImageNet's tokens of a ViT-L/16, with changed options."""

    @functools.cache
    def work(**options: object) -> Work:
        return plan_work(TokenOptions(backbone="mae_vitl", dataset="imagenet", **options))

    return work


@pytest.fixture(scope="session")
def machine() -> Callable[..., Machine]:
    """A machine with stated rates, some of them changed."""

    def changed(**rates: float | None) -> Machine:
        stated = {
            "backbone_images_per_second": 1000,
            "decode_images_per_second": 4000,
            "disk_write_bytes_per_second": 1e9,
            "disk_read_bytes_per_second": 2e9,
            "host_bytes_per_second": 10e9,
            "device_bytes_per_second": 1000e9,
            "disk_free_bytes": 1e12,
            "host_memory_bytes": 512e9,
            "device_memory_bytes": 80e9,
        }
        found = Rates(**{**stated, **rates})
        return Machine(found, dict.fromkeys(Rates.model_fields, "stated"))

    return changed

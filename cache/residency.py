"""Where tokens are while they are probed: on the device, in host memory, or on the disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch

from cache.dataset import TokenDataset
from cache.device import local_processes
from cache.free_memory import free_device_memory, free_host_memory

Tier: TypeAlias = Literal["device", "host", "stream"]
"""device: copied there once. host: mapped, and kept by the page cache after the first read. stream: read
from the disk in every epoch, within a budget of memory."""

FITTING_SHARE = 0.7
"""Of free memory; the rest is left for training and for others."""

STREAM_SHARE = 0.25
"""Of free host memory, at most: what streaming uses, in all processes, unless it is told otherwise."""


@dataclass(frozen=True)
class Residency:
    """A tier, and the bytes of memory that streaming may use."""

    tier: Tier
    memory: int


def choose_residency(
    datasets: Sequence[TokenDataset],
    device: torch.device,
    *,
    tier: Tier | None = None,
    memory: int | None = None,
) -> Residency:
    """The first tier, from device to stream, that holds all of `datasets`, or `tier`.

    `memory` bytes for streaming, of each process; without it the largest power of two within its share of a
    quarter of what is free, so that a shuffle's window seldom differs between two runs on one machine.
    """
    needed = sum(len(dataset) * dataset.record_bytes for dataset in datasets)
    free = free_host_memory()
    if tier is None:
        if needed <= FITTING_SHARE * free_device_memory(device):
            tier = "device"
        else:
            tier = "host" if needed <= FITTING_SHARE * free else "stream"
    budget = max(1, int(STREAM_SHARE * free) // local_processes())
    return Residency(tier, memory or 1 << (budget.bit_length() - 1))

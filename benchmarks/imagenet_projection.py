"""From what one image costs to what ImageNet-1k costs: arithmetic only, nothing is measured here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cache import Tier

TRAIN_IMAGES = 1_281_167
EPOCHS, SWEEP = 90, 64


@dataclass(frozen=True)
class Measured:
    """One backbone and dtype: seconds and bytes of one image."""

    backbone: str
    dtype: str
    stored_bytes: int
    extraction: float
    """Decode, forward pass, and write."""
    in_the_loop: float
    """Decode, forward pass, and a step of EP32 as published: an epoch without a store."""
    one_trial: Mapping[Tier, float]
    """A training epoch of one EP32."""
    sweep: Mapping[Tier, float]
    """A training epoch of `SWEEP` of them, in as many passes as memory needs."""


@dataclass(frozen=True)
class Projection:
    """ImageNet-1k's training images, on the machine that was measured. Hours and seconds are projected."""

    measured: Measured
    store_bytes: int
    tier: Tier
    """The first that would hold the store here."""
    extraction_hours: float
    epoch_seconds: Mapping[Tier, float]
    run_hours: float
    """90 epochs of EP32 in `tier`, extraction not included."""
    sweep_hours: float
    """90 epochs of 64 trials in `tier`."""
    in_the_loop_hours: float
    """90 epochs of one EP32 with the backbone in every epoch."""

    @property
    def times_faster(self) -> float:
        """Extraction and one run, against the backbone in every epoch."""
        return self.in_the_loop_hours / (self.extraction_hours + self.run_hours)

    @property
    def sweep_times_faster(self) -> float:
        """Extraction and the sweep, against 64 runs with the backbone in every epoch."""
        return SWEEP * self.in_the_loop_hours / (self.extraction_hours + self.sweep_hours)


def projected(measured: Measured, room: Mapping[Tier, int]) -> Projection:
    """Scale one image to all. `room`: bytes that the device and the host have for tokens."""
    store_bytes = measured.stored_bytes * TRAIN_IMAGES
    tiers: tuple[Tier, ...] = ("device", "host")
    tier: Tier = next((tier for tier in tiers if store_bytes <= room[tier]), "stream")
    hours = TRAIN_IMAGES / 3600
    return Projection(
        measured,
        store_bytes,
        tier,
        extraction_hours=hours * measured.extraction,
        epoch_seconds={name: TRAIN_IMAGES * seconds for name, seconds in measured.one_trial.items()},
        run_hours=EPOCHS * hours * measured.one_trial[tier],
        sweep_hours=EPOCHS * hours * measured.sweep[tier],
        in_the_loop_hours=EPOCHS * hours * measured.in_the_loop,
    )

"""What extracting and probing cost in bytes and seconds.

With n images in all splits, v ≥ n views of them, t images in the training split (`train`, or the first one
there is), r bytes kept of a view and p bytes of it that a probe reads (patches, and their scales in int8, of
the last block stored):

    store         v · r                                                  bytes
    compute(m)    m / extract; where that is not known,                  seconds for m images
                  max(m / decode, m / backbone)
    all views     n / extract + (v − n) / backbone; where extract is     seconds
                  not known, max(n / decode, v / backbone)
    extraction    max(all views, v · r / write), divided by the parts    seconds
    epoch         device  max(t · p / device, t / probe)                 seconds
                  host    max(t · p / host, t / probe)
                  stream  max(t · p / read, t · p / host, t / probe)
    online epoch  max(compute(t), t / backbone + t / probe)
    break-even    ⌈extraction / (online epoch − epoch)⌉                  epochs; never, unless positive

The epoch that counts is that of the first tier that holds the patches of all splits and views, chosen as
`TokenLoader` does; it reads one view of each image. An image is decoded once for all its views; cropping them
is not counted, and what views share, such as labels, is counted once. Reading the patches into that tier once
is not counted, nor is evaluation, in either way of probing; nor are manifests, indices and checksums: 0.1 KB
or so of an image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cache import Tier, TokenDtype
from cache.residency import FITTING_SHARE
from extract.planning.measure import Machine
from extract.planning.work import Work

Stage = Literal["backbone", "decoding", "disk"]


@dataclass(frozen=True)
class Costs:
    """Costs of `work` on `machine`; of its rates those of the device, of the probe and of decoding and the
    backbone at once may be unknown."""

    work: Work
    machine: Machine

    @property
    def train_split(self) -> str:
        """The split that probes train on."""
        return "train" if "train" in self.work.images else next(iter(self.work.images))

    @property
    def _images(self) -> int:
        return sum(self.work.images.values())

    @property
    def _views(self) -> int:
        """Forward passes: every view of all images."""
        return sum(count * self.work.views(split) for split, count in self.work.images.items())

    @property
    def _train_images(self) -> int:
        return self.work.images[self.train_split]

    def store_bytes(self, blocks: Sequence[int], dtype: TokenDtype) -> int:
        """Records of all splits."""
        return sum(
            count * self.work.record_bytes(blocks, dtype, self.work.views(split))
            for split, count in self.work.images.items()
        )

    def extraction(self, dtype: TokenDtype) -> tuple[float, Stage]:
        """Seconds of this part's job to store the blocks asked for, and what takes longest."""
        rates, size = self.machine.rates, self.store_bytes(self.work.blocks, dtype)
        parts = self.work.options.part.count
        compute, writing = (
            self._all_views() / parts,
            _seconds(size, rates.disk_write_bytes_per_second) / parts,
        )
        if writing > compute:
            return writing, "disk"
        slow_decoding = self._decoding(self._images) > self._backbone(self._views)
        return compute, "decoding" if slow_decoding else "backbone"

    def online_epoch(self) -> float:
        """Seconds of an epoch that decodes every image and runs the backbone on it."""
        images = self._train_images
        training = _seconds(images, self.machine.rates.probe_images_per_second)
        return max(self._compute(images), self._backbone(images) + training)

    def _all_views(self) -> float:
        if self.machine.rates.extract_images_per_second is not None:
            return self._compute(self._images) + self._backbone(self._views - self._images)
        return max(self._decoding(self._images), self._backbone(self._views))

    def _compute(self, images: int) -> float:
        together = self.machine.rates.extract_images_per_second
        if together is not None:
            return images / together
        return max(self._decoding(images), self._backbone(images))

    def _decoding(self, images: int) -> float:
        return _seconds(images, self.machine.rates.decode_images_per_second)

    def _backbone(self, images: int) -> float:
        return _seconds(images, self.machine.rates.backbone_images_per_second)

    def probe_bytes(self, dtype: TokenDtype) -> int:
        """What an epoch reads."""
        return self._train_images * self.work.probe_bytes(dtype)

    def epoch(self, tier: Tier, dtype: TokenDtype) -> float | None:
        """Seconds of an epoch that reads from `tier`; None where there is no such memory."""
        rates, size = self.machine.rates, self.probe_bytes(dtype)
        if tier == "device" and rates.device_bytes_per_second is None:
            return None
        reading = {
            "device": (rates.device_bytes_per_second,),
            "host": (rates.host_bytes_per_second,),
            "stream": (rates.disk_read_bytes_per_second, rates.host_bytes_per_second),
        }[tier]
        training = _seconds(self._train_images, rates.probe_images_per_second)
        return max(training, *(_seconds(size, rate) for rate in reading))

    def fits(self, tier: Tier, dtype: TokenDtype) -> bool:
        """Whether `tier` holds the patches of all splits and views."""
        rates = self.machine.rates
        memory = {
            "device": rates.device_memory_bytes,
            "host": rates.host_memory_bytes,
            "stream": math.inf,
        }[tier]
        return self._views * self.work.probe_bytes(dtype) <= FITTING_SHARE * (memory or 0)


def _seconds(amount: float, rate: float | None) -> float:
    """At a rate that is not known, no time."""
    return 0.0 if rate is None else amount / rate


def break_even(extraction: float, epoch: float, online_epoch: float) -> int | None:
    """From how many epochs on extracting first is no slower; None where it never is."""
    saved = online_epoch - epoch
    return math.ceil(extraction / saved) if saved > 0 else None

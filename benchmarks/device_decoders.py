"""Ways to decode JPEGs on a CUDA device, in batches, as contenders beside those of a CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from extract.device_decoding import DeviceDecoder, decode_jpegs, require_decoder
from extract.transform import torch_resize

BATCH = 64
DECODING = f"nvJPEG, batches of {BATCH}"
PREPARING = f"--decode device, batches of {BATCH}"


@dataclass(frozen=True)
class OnDevice:
    """Files → images on `device`; called with one file, its image as an array."""

    decode: Callable[[Sequence[bytearray]], Sequence[torch.Tensor]]
    device: torch.device

    def __call__(self, file: bytes) -> np.ndarray:
        return self.decode([bytearray(file)])[0].cpu().numpy()

    def run(self, files: Sequence[bytes]) -> int:
        """Whole batches of `files`, taken again where they are few, until the device has finished; images."""
        batches = -(-len(files) // BATCH)
        for batch in range(batches):
            numbers = range(batch * BATCH, (batch + 1) * BATCH)
            self.decode([bytearray(files[number % len(files)]) for number in numbers])
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return batches * BATCH


def device_decoder(device: torch.device) -> OnDevice:
    """Decoding alone: (H, W, 3) uint8. Raises `UserError` where torchvision cannot."""
    require_decoder(device)
    return OnDevice(lambda files: [found.permute(1, 2, 0) for found in decode_jpegs(files, device)], device)


def device_way(device: torch.device, transform: Mapping[str, Any]) -> OnDevice:
    """Decoding and resizing as `extract --decode device` does under the backbone's `transform`."""
    decoder = DeviceDecoder(torch_resize(dict(transform)), device)

    def prepare(files: Sequence[bytearray]) -> Sequence[torch.Tensor]:
        images, errors = decoder.batch(dict(enumerate(files)), len(files), transform["input_size"])
        assert not errors
        return list(images)

    return OnDevice(prepare, device)

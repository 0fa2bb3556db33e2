"""Encoded tokens on their way from a CUDA device to the host, beside the next forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import torch

from cache import Encoded

EncodedArrays = Mapping[str, tuple[Encoded, torch.Tensor]]
"""Array name → its encoding, and what it was made from."""


@dataclass(frozen=True)
class Copied:
    """Encodings in host memory once `wait` has returned; what they were made from stays where it is."""

    arrays: EncodedArrays
    done: torch.cuda.Event | None = None

    def wait(self) -> EncodedArrays:
        """The arrays, when their bytes are there. Nothing else on the device is waited for."""
        if self.done is not None:
            self.done.synchronize()
        return self.arrays


class HostCopies:
    """Copies on a stream of their own into page-locked memory; what is on the CPU is there already."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def begin(self, arrays: EncodedArrays) -> Copied:
        """Copy `arrays` as soon as what was asked of the device until now is computed."""
        if self._stream is None:
            return Copied(arrays)
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream):
            copies = {
                name: (self._copied(encoded, self._stream), source)
                for name, (encoded, source) in arrays.items()
            }
        return Copied(copies, self._stream.record_event())

    @staticmethod
    def _copied(encoded: Encoded, stream: torch.cuda.Stream) -> Encoded:
        held = {field.name: getattr(encoded, field.name) for field in fields(encoded)}
        copies = {}
        for name, tensor in held.items():
            if tensor is not None:
                copies[name] = tensor.to("cpu", non_blocking=True)  # torch allocates it page-locked
                tensor.record_stream(stream)  # or its memory is used again before it is copied
        return replace(encoded, **copies)

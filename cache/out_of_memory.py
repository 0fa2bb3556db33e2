"""Telling a device that has no memory left from other errors."""

from __future__ import annotations

import torch

SAYINGS = ("out of memory", "STATUS_ALLOC_FAILED", "DEVICE_ALLOCATION_FAILED")
"""Of the CUDA runtime and its driver; of cuBLAS and cuDNN; of cuDNN from version 9 on."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device refused memory: to torch, or to a library, which torch reports as a `RuntimeError`."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(saying in str(error) for saying in SAYINGS)

"""Keeping memory that a step has freed for the next one.

glibc gives every freed block above 32 MB back to the system, and each new one costs a page fault for every
4 KB: a step on the CPU, which makes and drops the same large tensors again and again, spends up to a third of
its time there. Accelerators' own allocators keep theirs.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # numbers in malloc.h
_LARGEST = 2**31 - 1


def keep_freed_memory() -> None:
    """For this process, from now on. Does nothing where the C library has no `mallopt`."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_MMAP_THRESHOLD, _LARGEST)
    mallopt(_TRIM_THRESHOLD, _LARGEST)

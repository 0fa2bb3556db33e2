"""Millions of names in little memory."""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np


class CompactNames:
    """Names, side by side in one block of bytes: data workers share it, a list of strings they would copy."""

    def __init__(self, names: Iterable[str]) -> None:
        encoded = [os.fsencode(name) for name in names]
        self._ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)
        self._bytes = b"".join(encoded)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> str:
        start = self._ends[index - 1] if index else 0
        return os.fsdecode(self._bytes[start : self._ends[index]])

"""One integer for a similarity and the gallery row it belongs to, so that ranking has no ties.

The larger key is the nearer row: the higher similarity, and of equal ones the lower row. Any sort or top-k of
keys gives the same order on every device.
"""

from __future__ import annotations

import torch

_LOW = 0xFFFFFFFF
_BELOW_SIGN = 0x7FFFFFFF


def ranking_key(similarity: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    """int64 keys of float32 similarities, not NaN, and int64 rows below 2^32."""
    bits = (similarity + 0.0).view(torch.int32)  # −0 + 0 is 0: the two zeros are equal
    return (_ordered(bits).to(torch.int64) << 32) | (_LOW - row)


def similarity_of(key: torch.Tensor) -> torch.Tensor:
    """The float32 similarity in each key."""
    return _ordered((key >> 32).to(torch.int32)).view(torch.float32)


def row_of(key: torch.Tensor) -> torch.Tensor:
    """The int64 row in each key."""
    return _LOW - (key & _LOW)


def _ordered(bits: torch.Tensor) -> torch.Tensor:
    # a negative float is sign and magnitude: its magnitude's bits turned over, integers order as floats do
    return bits ^ ((bits >> 31) & _BELOW_SIGN)

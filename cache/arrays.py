"""What one array of a split holds: name, dtype, shape of a record."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch

from cache.int8 import num_scales
from configs import FrozenModel

TokenDtype = Literal["float16", "bfloat16", "float32", "int8"]
"""How tokens are stored. NumPy, Zarr and HDF5 have no bfloat16: its bits are stored as uint16. int8 patches
have their scales beside them, in a float16 array of the same name and `_scale`."""

StoredDtype = Literal["float16", "bfloat16", "float32", "int8", "uint8", "int64"]

_STORAGE: dict[str, str] = {
    "float16": "<f2",
    "bfloat16": "<u2",
    "float32": "<f4",
    "int8": "|i1",
    "uint8": "|u1",
    "int64": "<i8",
}


class ArraySpec(FrozenModel):
    """One array of a split.

    Its shape over n records is (V, n, *record_shape) with views, (n, *record_shape) without.
    `record_chunks` makes each record a chunk of its own, so that any single one can be read alone by
    stock libraries; the others keep a whole shard's records in one chunk, since theirs are small.
    """

    name: str
    dtype: StoredDtype
    record_shape: tuple[int, ...]
    views: int | None = None
    record_chunks: bool = False
    fill_value: int = 0
    """What stock libraries read where a shard is not stored yet."""

    @property
    def storage_dtype(self) -> np.dtype[np.generic]:
        """The little-endian NumPy dtype of the bytes."""
        return np.dtype(_STORAGE[self.dtype])

    @property
    def record_bytes(self) -> int:
        """Bytes of one record of one view."""
        return math.prod(self.record_shape) * self.storage_dtype.itemsize

    @property
    def runs(self) -> int:
        """Runs of consecutive records that a shard holds: one for each view."""
        return self.views or 1

    def shape(self, records: int) -> tuple[int, ...]:
        """The array's shape over `records` records."""
        views = () if self.views is None else (self.views,)
        return (*views, records, *self.record_shape)

    def as_tensor(self, stored: np.ndarray) -> torch.Tensor:
        """`stored` as a tensor of the array's own dtype, sharing its memory."""
        tensor = torch.from_numpy(stored)
        return tensor.view(torch.bfloat16) if self.dtype == "bfloat16" else tensor


def array_name(block: int, kind: str) -> str:
    """The name of a block's array: `block23/patches`."""
    return f"block{block}/{kind}"


def scale_name(name: str) -> str:
    """The name of the array that holds the scales of the int8 array `name`."""
    return f"{name}_scale"


def token_arrays(
    block: int,
    *,
    num_tokens: int,
    num_prefix: int,
    dim: int,
    dtype: TokenDtype,
    views: int,
    normed_mean: bool,
) -> tuple[ArraySpec, ...]:
    """The arrays of one block: patches, their scales in int8, prefix, and the means in float32.

    A mean costs 1/N of the patches in any dtype; float32 keeps linear probes exact. Prefix tokens are as few:
    beside int8 patches they are float16.
    """
    patches, specs = array_name(block, "patches"), []
    if num_tokens:
        shape = (num_tokens, dim)
        specs.append(
            ArraySpec(name=patches, dtype=dtype, record_shape=shape, views=views, record_chunks=True)
        )
    if num_tokens and dtype == "int8":
        scales = (num_scales(num_tokens, dim),)
        specs.append(ArraySpec(name=scale_name(patches), dtype="float16", record_shape=scales, views=views))
    if num_prefix:
        specs.append(
            ArraySpec(
                name=array_name(block, "prefix"),
                dtype="float16" if dtype == "int8" else dtype,
                record_shape=(num_prefix, dim),
                views=views,
            )
        )
    for kind in ("mean", "mean_normed") if normed_mean else ("mean",):
        specs.append(
            ArraySpec(name=array_name(block, kind), dtype="float32", record_shape=(dim,), views=views)
        )
    return tuple(specs)


RECORD_ARRAYS = (
    ArraySpec(name="labels", dtype="int64", record_shape=(), fill_value=-1),
    ArraySpec(name="sample_id", dtype="int64", record_shape=(), fill_value=-1),
)
"""Present in every split: class of each record (−1: left out), and its position in the source."""

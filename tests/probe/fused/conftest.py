"""Tokens for the fused kernels; on a CPU these run in Triton's interpreter, as `tests/conftest.py` asks."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from cache.int8 import quantize
from probe.fused import StoredTokens

if importlib.util.find_spec("triton") is None:  # it is for Linux alone
    collect_ignore = ["test_kernels.py", "test_split_floats.py"]


@pytest.fixture(scope="session", autouse=True)
def _bfloat16_products() -> Iterator[None]:
    """Triton 3.9's interpreter multiplies the bits of bfloat16 numbers as if they were integers."""
    if importlib.util.find_spec("triton") is None:
        yield
        return
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    taken = InterpreterBuilder.create_dot

    def widened(handle: Any) -> Any:
        if handle.dtype.scalar != tl.bfloat16:
            return handle
        return TensorHandle((handle.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

    def create_dot(self: Any, a: Any, b: Any, *rest: Any) -> Any:
        return taken(self, widened(a), widened(b), *rest)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(InterpreterBuilder, "create_dot", create_dot)
        yield


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Where the kernels run."""
    from triton import knobs

    return torch.device("cpu" if knobs.runtime.interpret else "cuda")


@pytest.fixture
def as_stored(device: torch.device) -> Callable[..., StoredTokens]:
    """Float tokens (B, N, D), encoded as a store of `dtype` has them."""

    def encoded(
        tokens: torch.Tensor, dtype: torch.dtype, precision: torch.dtype = torch.float32
    ) -> StoredTokens:
        tokens = tokens.to(device)
        if dtype == torch.int8:
            return StoredTokens(*quantize(tokens), precision)
        return StoredTokens(tokens.to(dtype), None, precision)

    return encoded

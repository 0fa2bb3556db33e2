"""Copying batches to a CUDA device beside the steps that use them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache

import torch

from cache.batch import TokenBatch

AHEAD = 2
"""Batches whose copies are under way, or done, while the current one is used; and steps that wait for the
device while the next copy begins."""


@dataclass(frozen=True)
class _Copy:
    """A batch on its way. Until `done`, the memory it comes from may not be used again."""

    source: TokenBatch
    batch: TokenBatch
    done: torch.cuda.Event


def copied_ahead(batches: Iterator[TokenBatch], device: torch.device) -> Iterator[TokenBatch]:
    """`batches` on `device`, in order, copied on a stream of their own, `AHEAD` at a time.

    What is given may be used on the stream that is current then, as if it had been copied there. A copy
    begins once that stream has done the work on all batches but the last `AHEAD`: a host that runs further
    ahead would fill the device with batches.
    """
    stream = _copying_stream(device)
    under_way: deque[_Copy] = deque()
    used: deque[torch.cuda.Event] = deque()
    for batch in batches:
        if len(used) > AHEAD:
            used.popleft().synchronize()
        under_way.append(_started(batch, device, stream))
        if len(under_way) > AHEAD:
            yield _arrived(under_way.popleft(), device)
            used.append(torch.cuda.current_stream(device).record_event())
    while under_way:
        yield _arrived(under_way.popleft(), device)


@cache
def _copying_stream(device: torch.device) -> torch.cuda.Stream:
    """One for the process: torch keeps the memory of freed batches for the stream that they were made on."""
    return torch.cuda.Stream(device)


def _started(batch: TokenBatch, device: torch.device, stream: torch.cuda.Stream) -> _Copy:
    source = batch.pin_memory()  # labels and numbers; tokens are page-locked, and stay where they are
    with torch.cuda.stream(stream):
        copy = source.to(device, non_blocking=True)
    return _Copy(source, copy, stream.record_event())


def _arrived(copy: _Copy, device: torch.device) -> TokenBatch:
    """The batch once its bytes are there.

    The host waits: it runs ahead of the device, which has the steps before this one to do meanwhile, and
    must not let go of the source before.
    """
    copy.done.synchronize()
    current = torch.cuda.current_stream(device)
    for field in fields(copy.batch):
        tensor = getattr(copy.batch, field.name)
        if tensor is not None:
            tensor.record_stream(current)  # its memory, which is the copying stream's, is in use until then
    return copy.batch

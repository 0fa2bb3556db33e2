"""Copying batches to a CUDA device beside the steps that use them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch

from cache.batch import TokenBatch

AHEAD = 2
"""Batches whose copies are under way, or done, while the current one is used."""


@dataclass(frozen=True)
class _Copy:
    """A batch on its way. Until `done`, the memory it comes from may not be used again."""

    source: TokenBatch
    batch: TokenBatch
    done: torch.cuda.Event


def copied_ahead(batches: Iterator[TokenBatch], device: torch.device) -> Iterator[TokenBatch]:
    """`batches` (page-locked) on `device`, in order, copied on a stream of their own, `AHEAD` at a time.

    What is given may be used on the stream that is current then, as if it had been copied there.
    """
    stream = torch.cuda.Stream(device)
    under_way: deque[_Copy] = deque()
    for batch in batches:
        under_way.append(_started(batch, device, stream))
        if len(under_way) > AHEAD:
            yield _arrived(under_way.popleft(), device)
    while under_way:
        yield _arrived(under_way.popleft(), device)


def _started(batch: TokenBatch, device: torch.device, stream: torch.cuda.Stream) -> _Copy:
    with torch.cuda.stream(stream):
        copy = batch.to(device, non_blocking=True)
    return _Copy(batch, copy, stream.record_event())


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

"""What a probe would say if one query's map were uniform, for every query, from one look at the tokens."""

from __future__ import annotations

import torch

from probe.poolings import QueryPooling
from probe.probe import Probe


def predictions(probe: Probe, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Classes (B,), and those with the map of each query in turn made uniform, (B, M).

    The tokens are pooled once; what follows is computed for each query anew, so that memory holds one
    variant at a time. None where a map has no uniform counterpart: CBAM and DELF gate tokens without a
    softmax, and of ViT every token is a query.
    """
    pooling = probe.pooling
    if not isinstance(pooling, QueryPooling):
        return probe(tokens)[0].argmax(dim=-1), None
    pooled = pooling.pool(tokens)
    uniform = pooling.pool_evenly(tokens).expand_as(pooled)
    variants = []
    for query in range(pooled.shape[2]):
        changed = pooled.clone()
        changed[:, :, query] = uniform[:, :, query]
        variants.append(_classes(probe, pooling.finish(changed)))
    return _classes(probe, pooling.finish(pooled)), torch.stack(variants, dim=1)


def _classes(probe: Probe, features: torch.Tensor) -> torch.Tensor:
    """(B,)."""
    logits: torch.Tensor = probe.classifier(probe.batch_norm(features))
    return logits[0].argmax(dim=-1)

"""The fused kernels as a differentiable function of the queries."""

from __future__ import annotations

from typing import Any

import torch

from probe.fused.blocks import Blocks
from probe.fused.launch import Pooled, gradient, pool
from probe.fused.stored_tokens import StoredTokens


def fused_pool(tokens: StoredTokens, queries_QD: torch.Tensor, blocks: Blocks, parts: int) -> torch.Tensor:
    """softmax_n(q · x_n) x_n for every query and image, (B, Q, D) in the tokens' precision; sums are float32.

    Tokens are data: they get no gradient. `parts`: see `kernels`.
    """
    pooled: torch.Tensor = _FusedPool.apply(queries_QD, tokens, blocks, parts)
    return pooled


class _FusedPool(torch.autograd.Function):
    """Keeps the scores and what was pooled."""

    @staticmethod
    def forward(
        ctx: Any, queries_QD: torch.Tensor, tokens: StoredTokens, blocks: Blocks, parts: int
    ) -> torch.Tensor:
        pooled = pool(tokens, queries_QD, blocks, parts, keep=ctx.needs_input_grad[0])
        ctx.save_for_backward(*pooled.tensors())
        ctx.rest = tokens, blocks, parts, queries_QD.dtype
        return pooled.values

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        tokens, blocks, parts, dtype = ctx.rest
        (of_pooled_BQD,) = gradients
        found = gradient(tokens, Pooled(*ctx.saved_tensors), of_pooled_BQD, blocks, parts)
        return found.to(dtype), None, None, None

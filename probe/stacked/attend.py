"""The one thing that every pooling here shares: queries attend to tokens and pool them.

    weights = softmax_n(q_m · x_n),   pooled_m = Σ_n weights_mn x_n

Values that are a linear map W of the tokens need no N × D matrix of their own: as weights sum to 1,
Σ_n weights_n (W x_n + b) = W (Σ_n weights_n x_n) + b, so a pooling projects what was pooled. Keys that are a
linear map need none either: q · (W x + b) = (Wᵀ q) · x + q · b, and softmax removes the constant. What is
left are two products with the raw tokens, for the queries of all heads and all trials together.

Shape suffixes: K trials, B images, M queries of a trial, N tokens, D channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from probe.centred_tokens import CentredTokens
from probe.fused import StoredTokens, Tokens, chosen_blocks, decoded


def attend(tokens_BND: Tokens, queries: torch.Tensor) -> torch.Tensor:
    """Pool tokens by queries (K, M, D), or (K, B, M, D) for each image its own → (K, B, M, D).

    Queries bring their scale with them. Tokens are data: they get no gradient. The products are taken in the
    tokens' precision, bfloat16 for one, and what is pooled has it, too. Tokens as stored are taken by the
    kernels of `probe.fused` where these fit, and decoded where not.
    """
    if isinstance(tokens_BND, StoredTokens):
        if queries.ndim == 3 and (chosen := chosen_blocks(tokens_BND, len(_joined(queries)))):
            from probe.fused.pooling import fused_pool  # needs Triton

            return _parted(fused_pool(tokens_BND, _joined(queries), *chosen), len(queries))
        tokens_BND = tokens_BND.plain
    if torch.compiler.is_compiling() or _is_traced():  # exported graphs hold plain operations
        return attention_weights(tokens_BND, queries) @ decoded(tokens_BND)
    if isinstance(tokens_BND, CentredTokens):
        pooled = _Attend.apply(tokens_BND.values, _joined(queries), tokens_BND.centre)
    else:
        pooled = _Attend.apply(tokens_BND.detach(), _joined(queries), None)
    return _parted(pooled, len(queries))


def _is_traced() -> bool:
    """Whether TorchScript records what is computed."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def attention_weights(tokens_BND: Tokens, queries: torch.Tensor) -> torch.Tensor:
    """The weights by which `attend` pools, (K, B, M, N); those of a query sum to 1."""
    return _parted(torch.softmax(_joined(queries) @ decoded(tokens_BND).mT, dim=-1), len(queries))


def _joined(queries: torch.Tensor) -> torch.Tensor:
    """Queries of all trials together: (K, M, D) → (K·M, D), and (K, B, M, D) → (B, K·M, D)."""
    return queries.flatten(0, 1) if queries.ndim == 3 else queries.transpose(0, 1).flatten(1, 2)


def _parted(values: torch.Tensor, trials: int) -> torch.Tensor:
    """(B, K·M, …) → (K, B, M, …)."""
    return torch.unflatten(values, 1, (trials, -1)).transpose(0, 1)


CHUNK_BYTES = {"cpu": 4 * 2**20, "cuda": 512 * 2**20}
"""Of weights, (images, Q, N), that are worked on at a time: on a CPU they then stay in its cache."""

FEW_IMAGES = 32


class _Attend(torch.autograd.Function):
    """Q = K·M queries, shared (Q, D) or a set for each image (B, Q, D). Keeps the weights, not the scores.

    A centre (B, D) of the tokens is added to what is pooled.
    """

    @staticmethod
    def forward(
        ctx: Any, tokens_BND: torch.Tensor, queries: torch.Tensor, centre_BD: torch.Tensor | None
    ) -> torch.Tensor:
        images, count, _ = tokens_BND.shape
        ctx.shared, ctx.dtype = queries.ndim == 2, queries.dtype
        queries = queries.to(tokens_BND.dtype)
        weights_BQN = tokens_BND.new_empty(images, queries.shape[-2], count)
        pooled_BQD = tokens_BND.new_empty(images, *queries.shape[-2:])
        for part in _chunks(weights_BQN):
            own = queries if queries.ndim == 2 else queries[part]
            torch.softmax(own @ tokens_BND[part].mT, dim=-1, out=weights_BQN[part])
            torch.matmul(weights_BQN[part], tokens_BND[part], out=pooled_BQD[part])
            if centre_BD is not None:
                pooled_BQD[part] += centre_BD[part].unsqueeze(-2)
        ctx.save_for_backward(tokens_BND, weights_BQN)
        return pooled_BQD

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, torch.Tensor, None]:
        tokens_BND, weights_BQN = ctx.saved_tensors
        gradient_BQD = gradients[0].to(tokens_BND.dtype)
        shape = gradient_BQD.shape[1:] if ctx.shared else gradient_BQD.shape
        of_queries = tokens_BND.new_zeros(shape, dtype=ctx.dtype)
        for part in _chunks(weights_BQN):
            of_weights = gradient_BQD[part] @ tokens_BND[part].mT
            of_scores = torch.ops.aten._softmax_backward_data(
                of_weights, weights_BQN[part], -1, weights_BQN.dtype
            )
            if ctx.shared:  # one product over all tokens of the chunk
                rows = of_scores.movedim(-2, 0).flatten(1), tokens_BND[part].flatten(0, -2)
                if tokens_BND.dtype == ctx.dtype:
                    of_queries.addmm_(*rows)
                else:  # sums over chunks are kept in full precision
                    of_queries += torch.mm(*rows)
            else:
                of_queries[part] = torch.matmul(of_scores, tokens_BND[part])
        return None, of_queries, None


def _chunks(weights_BQN: torch.Tensor) -> Sequence[slice | int]:
    """Consecutive images whose weights are about `CHUNK_BYTES`.

    Where only a few are, images one by one: single products are faster than batched ones then.
    """
    images, queries, count = weights_BQN.shape
    most = CHUNK_BYTES.get(weights_BQN.device.type, 2**26)
    size = most // (queries * count * weights_BQN.itemsize)
    if size <= FEW_IMAGES:
        return range(images)
    return [slice(first, first + size) for first in range(0, images, size)]

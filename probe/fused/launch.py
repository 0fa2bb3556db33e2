"""From tensors to launches of the kernels, and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from cache import FinalNorm
from probe.fused.blocks import Blocks
from probe.fused.kernels import pool_backward, pool_forward
from probe.fused.stored_tokens import StoredTokens
from probe.fused.token_norms import token_scales

OPERANDS = {
    torch.float16: tl.float16,
    torch.bfloat16: tl.bfloat16,
    torch.int8: tl.float16,  # codes are exact in it
    torch.float32: tl.float32,
}
"""Of the matrix products, for each stored dtype."""

INTERPRETED_PROGRAMS = 3
"""That share a batch where no device runs them: each then has several images."""


@dataclass(frozen=True)
class Pooled:
    """What a forward pass gives: pooled tokens, and for the way back all else.

    values (B, Q, D) in the tokens' precision; rest (B, Q, D), their next eight bits where they have 16
    (`split_floats`); scores (B, N, Q) and their log Σ exp (B, Q) in float32. Rest and scores are empty unless
    kept.
    """

    values: torch.Tensor
    rest: torch.Tensor
    scores: torch.Tensor
    log_sums: torch.Tensor

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """All of them, in this order."""
        return self.values, self.rest, self.scores, self.log_sums

    @property
    def has_rest(self) -> bool:
        """Whether values alone are not what was pooled."""
        return len(self.rest) > 0


def pool(tokens: StoredTokens, queries_QD: torch.Tensor, blocks: Blocks, parts: int, *, keep: bool) -> Pooled:
    """Pool tokens by queries; `keep` what only a backward pass reads."""
    images, (count, dim) = len(tokens), tokens.values.shape[1:]
    num_queries = len(queries_QD)
    shape = num_queries, dim
    log_sums_BQ = queries_QD.new_empty(images, num_queries, dtype=torch.float32)
    rounded = tokens.precision != torch.float32
    pooled = Pooled(
        log_sums_BQ.new_empty(images, *shape, dtype=tokens.precision),
        log_sums_BQ.new_empty(images if keep and rounded else 0, *shape, dtype=torch.int8),
        log_sums_BQ.new_empty(images if keep else 0, count, num_queries),
        log_sums_BQ,
    )
    with torch.cuda.device_of(tokens.values):
        pool_forward[_programs(tokens, num_queries, blocks)](
            *_pointers(tokens),
            queries_QD.contiguous(),
            *pooled.tensors(),
            images,
            count,
            num_queries,
            *_strides(tokens),
            KEEP_SCORES=keep,
            HAS_REST=pooled.has_rest,
            HAS_ITEMS=tokens.items is not None,
            **kernel_constants(dim, tokens.values.dtype, tokens.norm, blocks, parts),
        )
    return pooled


def gradient(
    tokens: StoredTokens, pooled: Pooled, of_pooled_BQD: torch.Tensor, blocks: Blocks, parts: int
) -> torch.Tensor:
    """Of the queries, (Q, D) float32, from what `pool` gave and the gradient of its values."""
    images, (count, dim) = len(tokens), tokens.values.shape[1:]
    num_queries = pooled.scores.shape[-1]
    programs = _programs(tokens, num_queries, blocks)
    sums = pooled.scores.new_empty(programs[1], num_queries, dim)
    if of_pooled_BQD.stride(-1) != 1:  # a sum's, for one
        of_pooled_BQD = of_pooled_BQD.contiguous()
    with torch.cuda.device_of(tokens.values):
        pool_backward[programs](
            *_pointers(tokens),
            *pooled.tensors(),
            of_pooled_BQD,
            sums,
            images,
            count,
            num_queries,
            *_strides(tokens),
            of_pooled_BQD.stride(0),
            of_pooled_BQD.stride(1),
            HAS_REST=pooled.has_rest,
            HAS_ITEMS=tokens.items is not None,
            **kernel_constants(dim, tokens.values.dtype, tokens.norm, blocks, parts),
        )
    return sums.sum(dim=0)


def _programs(tokens: StoredTokens, num_queries: int, blocks: Blocks) -> tuple[int, int]:
    """Blocks of queries, and how many programs share the images: about one program a multiprocessor."""
    device = tokens.values.device
    query_blocks = triton.cdiv(num_queries, blocks.queries)
    if device.type == "cuda":
        sharing = torch.cuda.get_device_properties(device).multi_processor_count // query_blocks
    else:
        sharing = INTERPRETED_PROGRAMS
    return query_blocks, min(max(sharing, 1), len(tokens))


def _pointers(tokens: StoredTokens) -> tuple[torch.Tensor, ...]:
    """Of tokens, scales, factors, items, γ and β; where there are none, the kernels do not read them."""
    values, scales, norm = tokens.values, tokens.scales, tokens.norm
    factors = values if scales is None else scales[:, values.shape[1] :]
    items = values if tokens.items is None else tokens.items
    if norm is None:
        return values, values if scales is None else scales, factors, items, values, values
    width = values.shape[-1:]
    gamma = torch.ones(width, device=values.device) if norm.weight is None else norm.weight.float()
    beta = torch.zeros(width, device=values.device) if norm.bias is None else norm.bias.float()
    return values, _norm_scales(tokens, norm), factors, items, gamma, beta


def _norm_scales(tokens: StoredTokens, norm: FinalNorm) -> torch.Tensor:
    """Of all tokens, computed once."""
    key = f"{norm.kind} {norm.eps}"
    if key not in tokens.kept:
        tokens.kept[key] = token_scales(tokens.values, tokens.scales, norm)
    return tokens.kept[key]


def _strides(tokens: StoredTokens) -> tuple[int, int, int]:
    """From an image to the next: of scales, of factors, and of γ and β, which all images share."""
    _, count, dim = tokens.values.shape
    return count if tokens.norm is not None else count + dim, count + dim, 0


def kernel_constants(
    dim: int, dtype: torch.dtype, norm: FinalNorm | None, blocks: Blocks, parts: int
) -> dict[str, object]:
    """What both kernels are compiled for, with the compiler's options: (B, N, dim) tokens of `dtype`."""
    return {
        "D": dim,
        "NORMED": norm is not None,
        "CENTRED": norm is not None and norm.kind == "layer_norm",
        "HAS_SCALES": norm is not None or dtype == torch.int8,
        "HAS_FACTORS": dtype == torch.int8,
        "DTYPE": OPERANDS[dtype],
        "PARTS": parts,
        "BLOCK_N": blocks.tokens,
        "BLOCK_Q": blocks.queries,
        "BLOCK_D": blocks.channels,
        "CHUNKS": blocks.chunks,
        "enable_fp_fusion": True,  # unset, Triton 3.9 warns, and 3.10 multiplies and adds apart
        "num_warps": blocks.warps,
        "num_stages": blocks.stages,
    }

"""Several heads of one query: which tokens each attends to, and what it makes of them.

Shape suffixes: K trials, B images, H heads, D channels of a token, O outputs of all heads, E = O / H.
"""

from __future__ import annotations

import torch


def head_queries(queries: torch.Tensor, key_weight_KOD: torch.Tensor, heads: int) -> torch.Tensor:
    """Queries that attend to raw tokens as `queries` attend to their keys: (Wᵀ q)_h, scaled by 1/√E.

    queries: (K, O), or (K, B, O) for each image its own. → (K, H, D), or (K, B, H, D).
    """
    keys_KHED = key_weight_KOD.unflatten(1, (heads, -1))
    split = queries.unflatten(-1, (heads, -1)) * keys_KHED.shape[2] ** -0.5
    pattern = "khe,khed->khd" if queries.ndim == 2 else "kbhe,khed->kbhd"
    return torch.einsum(pattern, split, keys_KHED)


def projected(rows_KRD: torch.Tensor, weight_KOD: torch.Tensor) -> torch.Tensor:
    """(K, R, O) in the weight's dtype; the product is taken in that of the rows, bfloat16 for one."""
    return torch.bmm(rows_KRD, weight_KOD.to(rows_KRD.dtype).mT).to(weight_KOD.dtype)


def project_heads(pooled_KBHD: torch.Tensor, value_weight_KOD: torch.Tensor) -> torch.Tensor:
    """What each head pooled, through its own rows of the value projection → (K, B, O)."""
    trials, images, heads, dim = pooled_KBHD.shape
    rows = pooled_KBHD.transpose(1, 2).reshape(trials * heads, images, dim)
    values = projected(rows, value_weight_KOD.reshape(trials * heads, -1, dim))
    return values.view(trials, heads, images, -1).transpose(1, 2).flatten(2)

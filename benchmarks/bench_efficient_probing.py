"""Efficient probing pooled first, against the published formulation and plain multi-head attention.

    python benchmarks/bench_efficient_probing.py

32 queries on ViT-B/16 tokens (N = 196, D = 768), float32, batch of 64, on the CPU. "Published" projects the
values of all tokens and then pools them, written plainly below; "nn.MultiheadAttention" has 32 heads and one
learned query. All three run in turn, round by round; the medians are compared.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from probe.poolings import EfficientPooling

BATCH, TOKENS, DIM, QUERIES = 64, 196, 768, 32
ROUNDS = 15


def published(pooling: EfficientPooling, tokens: torch.Tensor) -> torch.Tensor:
    """y_j = Σ_n a_jn W_j x_n, values first: (B, N, D) → (B, D)."""
    values = tokens @ pooling.values_MOD.flatten(0, 1).mT
    values = values.unflatten(-1, (QUERIES, DIM // QUERIES)).transpose(1, 2)
    return (pooling.attention(tokens).unsqueeze(2) @ values).flatten(1)


def main() -> None:
    torch.manual_seed(0)
    tokens = torch.randn(BATCH, TOKENS, DIM)
    pooling = EfficientPooling(DIM, QUERIES)
    attention = nn.MultiheadAttention(DIM, QUERIES, batch_first=True)
    query = nn.Parameter(0.02 * torch.randn(1, 1, DIM))
    kinds: dict[str, Callable[[], torch.Tensor]] = {
        "pooled first": lambda: pooling(tokens),
        "published": lambda: published(pooling, tokens),
        "nn.MultiheadAttention": lambda: attention(
            query.expand(BATCH, -1, -1), tokens, tokens, need_weights=False
        )[0],
    }
    difference = (kinds["pooled first"]() - kinds["published"]()).abs().max()
    print(f"largest difference between pooled first and published: {difference.item():.1e}")
    for backward in (False, True):
        times: dict[str, list[float]] = {name: [] for name in kinds}
        for _ in range(ROUNDS):
            for name, run in kinds.items():
                start = time.perf_counter()
                with torch.set_grad_enabled(backward):
                    found = run()
                    if backward:
                        found.square().mean().backward()
                times[name].append(time.perf_counter() - start)
        fastest = statistics.median(times["pooled first"])
        print("forward and backward" if backward else "forward")
        for name, taken in times.items():
            median = statistics.median(taken)
            print(f"  {name:<22} {1000 * median:8.1f} ms   {median / fastest:6.1f} × pooled first")


if __name__ == "__main__":
    main()

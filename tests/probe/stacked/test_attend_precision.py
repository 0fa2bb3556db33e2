"""Pooling in bfloat16."""

from __future__ import annotations

import pytest
import torch

from probe import build_probe
from probe.stacked import attend, project_heads


def _tokens() -> torch.Tensor:
    return torch.randn(6, 50, 24, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(2, 4, 24), (2, 6, 4, 24)], ids=["shared", "each its own"])
def test_bfloat16_tokens_pool_to_what_float32_tokens_do_within_their_precision(
    shape: tuple[int, ...],
) -> None:
    found, gradients = [], []
    for dtype in (torch.float32, torch.bfloat16):
        queries = torch.randn(shape, generator=torch.Generator().manual_seed(1)).requires_grad_()
        pooled = attend(_tokens().to(dtype), queries)
        pooled.square().sum().backward()
        assert pooled.dtype == dtype
        assert queries.grad is not None
        assert queries.grad.dtype == torch.float32
        found.append(pooled.detach().float())
        gradients.append(queries.grad)
    torch.testing.assert_close(found[1], found[0], rtol=0.05, atol=0.05)
    assert (gradients[1] - gradients[0]).norm() < 0.06 * gradients[0].norm()


@pytest.mark.parametrize("name", ["ep4", "mhca4", "coca4", "aim4", "vit4", "simpool", "delf"])
def test_every_probe_takes_bfloat16_tokens(name: str) -> None:
    torch.manual_seed(0)
    probe = build_probe(name, 24, 5, grid=(5, 10)).eval()
    exact, reduced = probe(_tokens()), probe(_tokens().bfloat16())
    assert reduced.dtype == torch.float32
    torch.testing.assert_close(reduced, exact, rtol=0.1, atol=0.05)


def test_what_is_pooled_in_bfloat16_is_projected_in_it_and_gives_float32() -> None:
    drawn = torch.Generator().manual_seed(2)
    pooled, weight = torch.randn(2, 6, 4, 24, generator=drawn), torch.randn(2, 8, 24, generator=drawn)
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        rows, matrix = pooled.to(dtype).requires_grad_(), weight.clone().requires_grad_()
        values = project_heads(rows, matrix)
        of_rows, of_matrix = torch.autograd.grad(values.square().sum(), (rows, matrix))
        assert values.dtype == of_matrix.dtype == torch.float32
        assert of_rows.dtype == dtype
        results.append([values, of_rows.float(), of_matrix])
    for exact, reduced in zip(*results, strict=True):
        assert 1e-4 * exact.norm() < (reduced - exact).norm() < 2e-2 * exact.norm()

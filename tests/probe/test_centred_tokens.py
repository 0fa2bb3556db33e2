"""Tokens in 16 bits lose a share of what they differ by, not of what they have in common."""

from __future__ import annotations

import pytest
import torch

from cache import TokenBatch
from probe import TokenInputs
from probe.centred_tokens import CentredTokens, centred
from probe.fused import StoredTokens, decoded, in_precision
from probe.stacked import attend

ROUNDING = 2.0**-8
"""Of bfloat16, relative."""


@pytest.fixture
def tokens() -> torch.Tensor:
    """(5, 40, 48), two of whose channels are large in all tokens."""
    drawn = torch.randn(5, 40, 48, generator=torch.Generator().manual_seed(0))
    drawn[..., 7] += 300
    drawn[..., 30] -= 150
    return drawn


def test_values_are_rounded_by_their_distance_from_the_images_mean(tokens: torch.Tensor) -> None:
    found = centred(tokens, torch.bfloat16)
    assert found.values.dtype == torch.bfloat16
    assert found.centre.dtype == found.decoded.dtype == torch.float32
    distance = (tokens - tokens.mean(dim=1, keepdim=True)).abs()
    assert bool(((found.decoded - tokens).abs() <= ROUNDING * distance + 1e-4).all())


@pytest.mark.parametrize("shape", [(2, 3, 48), (2, 5, 3, 48)], ids=["shared", "each its own"])
def test_large_channels_do_not_drown_the_queries_gradient(
    tokens: torch.Tensor, shape: tuple[int, ...]
) -> None:
    drawn = torch.Generator().manual_seed(1)
    start, direction = torch.randn(shape, generator=drawn) / 7, torch.randn(2, 5, 3, 48, generator=drawn)
    pooled, gradients = [], []
    for given, dtype in (tokens.double(), torch.float64), (centred(tokens, torch.bfloat16), torch.float32):
        queries = start.to(dtype).requires_grad_()
        found = attend(given, queries)
        (gradient,) = torch.autograd.grad(found, queries, direction.to(found.dtype))
        pooled.append(found.detach().double())
        gradients.append(gradient.double())
    assert (pooled[1] - pooled[0]).norm() < ROUNDING * pooled[0].norm()
    assert (gradients[1] - gradients[0]).norm() < 0.02 * gradients[0].norm()


def test_probes_are_given_their_patches_so_and_vectors_in_float32(tokens: torch.Tensor) -> None:
    order = torch.arange(len(tokens))
    batch = TokenBatch(labels=order, index=order, patches=tokens, prefix=tokens[:, :1])
    inputs = TokenInputs("pre", None, 0, precision=torch.bfloat16)
    found = inputs.for_probes([batch], ["patches", "all", "cls"])
    assert isinstance(found["patches"], CentredTokens)
    assert isinstance(found["all"], CentredTokens)
    assert found["all"].values.shape == (5, 41, 48)
    assert isinstance(found["cls"], torch.Tensor)
    assert found["cls"].dtype == torch.float32


def test_stored_tokens_are_made_so_once_for_all_probes(tokens: torch.Tensor) -> None:
    stored = StoredTokens(tokens.half(), None, torch.bfloat16)
    assert isinstance(stored.plain, CentredTokens)
    assert stored.plain is stored.plain
    assert torch.equal(decoded(stored), stored.plain.decoded)


def test_float32_tokens_are_left_alone(tokens: torch.Tensor) -> None:
    assert in_precision(tokens, torch.float32) is tokens

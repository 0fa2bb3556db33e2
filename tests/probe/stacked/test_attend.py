"""Attention of learned queries to shared tokens, held against the plain formula in float64."""

from __future__ import annotations

import pytest
import torch

from probe.stacked import attend, attention_weights

TRIALS, BATCH, QUERIES, TOKENS, DIM = 3, 4, 2, 5, 6


@pytest.fixture
def tokens() -> torch.Tensor:
    drawn = torch.Generator().manual_seed(0)
    return torch.randn(BATCH, TOKENS, DIM, dtype=torch.float64, generator=drawn)


@pytest.fixture(params=["shared by images", "of each image"])
def queries(request: pytest.FixtureRequest) -> torch.Tensor:
    """(K, M, D), or (K, B, M, D)."""
    shape = (TRIALS, QUERIES, DIM) if request.param == "shared by images" else (TRIALS, BATCH, QUERIES, DIM)
    drawn = torch.Generator().manual_seed(1)
    return torch.randn(shape, dtype=torch.float64, generator=drawn, requires_grad=True)


def _plain(tokens: torch.Tensor, queries: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (K, B, M, N) and pooled (K, B, M, D), query by query."""
    of_images = queries if queries.ndim == 4 else queries.unsqueeze(1).expand(-1, BATCH, -1, -1)
    scores = (of_images.unsqueeze(3) * tokens[None, :, None]).sum(-1)
    exponentials = scores.exp()
    weights = exponentials / exponentials.sum(-1, keepdim=True)
    return weights, (weights.unsqueeze(-1) * tokens[None, :, None]).sum(3)


def test_tokens_are_pooled_by_the_softmax_of_their_products_with_the_queries(
    tokens: torch.Tensor, queries: torch.Tensor
) -> None:
    torch.testing.assert_close(attend(tokens, queries), _plain(tokens, queries)[1])


def test_the_weights_are_those_by_which_tokens_are_pooled(
    tokens: torch.Tensor, queries: torch.Tensor
) -> None:
    torch.testing.assert_close(attention_weights(tokens, queries), _plain(tokens, queries)[0])


def test_queries_get_the_gradient_of_the_plain_formula(tokens: torch.Tensor, queries: torch.Tensor) -> None:
    direction = torch.randn(TRIALS, BATCH, QUERIES, DIM, dtype=torch.float64)
    (found,) = torch.autograd.grad((attend(tokens, queries) * direction).sum(), queries)
    (wanted,) = torch.autograd.grad((_plain(tokens, queries)[1] * direction).sum(), queries)
    torch.testing.assert_close(found, wanted)


def test_the_gradient_is_that_of_finite_differences(tokens: torch.Tensor, queries: torch.Tensor) -> None:
    assert torch.autograd.gradcheck(lambda moved: attend(tokens, moved), (queries,))


def test_tokens_are_data_and_get_no_gradient(tokens: torch.Tensor, queries: torch.Tensor) -> None:
    tokens.requires_grad_()
    attend(tokens, queries).sum().backward()
    assert tokens.grad is None


def test_large_scores_do_not_overflow(tokens: torch.Tensor, queries: torch.Tensor) -> None:
    pooled = attend(1000 * tokens.float(), queries.float())
    assert pooled.isfinite().all()

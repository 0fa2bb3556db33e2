"""The fused kernels, interpreted on the CPU, against the formula in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from triton import knobs

from cache import FinalNorm, NormKind
from probe.fused import StoredTokens
from probe.fused.blocks import FEWEST_QUERIES, Blocks, blocks_for, tiles_of
from probe.fused.launch import Pooled
from probe.fused.pooling import fused_pool
from probe.fused.token_norms import token_scales

EXACT = {torch.float32: 1, torch.float16: 2, torch.bfloat16: 3, torch.int8: 2}
"""Parts of operands that have the precision of float32."""

FLOAT32_ERROR = 2e-6 if knobs.runtime.interpret else 2e-5
"""Matrix units cut off what their float32 sums have no bits for; the interpreter rounds."""

ROUNDED = {torch.float16: 2.0**-11, torch.int8: 2.0**-11, torch.bfloat16: 2.0**-8}
"""Relative error of an operand in one part."""

AsStored = Callable[..., StoredTokens]


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def errors(
    tokens: StoredTokens, queries: torch.Tensor, parts: int, scale: float = 1.0
) -> tuple[float, float]:
    """Of what is pooled and of the gradient, relative to what rounding each term of their sums may change.

    `scale`: of the gradient that comes back.
    """
    dim = tokens.values.shape[-1]
    blocks = blocks_for(dim, len(queries), parts, tokens.values.dtype)
    blocks = blocks or Blocks(16, FEWEST_QUERIES, *tiles_of(dim))  # more than a device holds
    device = tokens.values.device
    direction = scale * drawn(len(tokens), len(queries), dim, seed=2).to(device)
    queries = queries.to(device, copy=True).requires_grad_()
    found = fused_pool(tokens, queries, blocks, parts)
    (of_queries,) = torch.autograd.grad((found * direction).sum(), queries)
    exact, asked, sent = (
        tokens.decoded.double(),
        queries.detach().double().requires_grad_(),
        direction.double(),
    )
    weights = torch.softmax(asked @ exact.mT, dim=-1)
    wanted = weights @ exact
    (wanted_of_queries,) = torch.autograd.grad((wanted * sent).sum(), asked)
    assert found.dtype == of_queries.dtype == torch.float32
    size = (weights @ exact.abs()).detach()
    terms = weights * ((sent.abs() @ exact.abs().mT) + (sent * wanted).abs().sum(-1, keepdim=True))
    of_size = (terms @ exact.abs()).sum(dim=0).detach()
    smallest = torch.finfo(torch.float64).tiny  # of channels that are 0 in all tokens nothing may come out
    return (
        float(((found.detach() - wanted.detach()).abs() / size.clamp(min=smallest)).max()),
        float(((of_queries - wanted_of_queries).abs() / of_size.clamp(min=smallest)).max()),
    )


@pytest.mark.parametrize("dtype", EXACT, ids=str)
@pytest.mark.parametrize(
    ("images", "count", "dim", "queries"),
    [(4, 37, 192, 3), (2, 197, 64, 32), (5, 1, 64, 1), (1, 64, 128, 17)],
    ids=lambda number: str(number),
)
def test_pooled_tokens_and_gradient_are_the_formulas_in_the_precision_of_float32(
    dtype: torch.dtype, images: int, count: int, dim: int, queries: int, as_stored: AsStored
) -> None:
    tokens = as_stored(0.3 + 1.7 * drawn(images, count, dim, seed=0), dtype)
    asked = drawn(queries, dim, seed=1) / dim**0.5
    assert max(errors(tokens, asked, EXACT[dtype])) < FLOAT32_ERROR


@pytest.mark.parametrize("dtype", ROUNDED, ids=str)
def test_operands_in_one_part_cost_their_rounding_alone(dtype: torch.dtype, as_stored: AsStored) -> None:
    tokens = as_stored(drawn(3, 50, 64, seed=0), dtype)
    pooled, gradient = errors(tokens, drawn(4, 64, seed=1) / 8, parts=1)
    assert 0.01 * ROUNDED[dtype] < pooled < 4 * ROUNDED[dtype]
    assert 0.01 * ROUNDED[dtype] < gradient < 4 * ROUNDED[dtype]


@pytest.mark.parametrize("queries", [256, 100])
def test_many_queries_are_taken_in_blocks(queries: int, as_stored: AsStored) -> None:
    tokens = as_stored(drawn(2, 20, 64, seed=0), torch.float16)
    assert max(errors(tokens, drawn(queries, 64, seed=1) / 8, parts=2)) < FLOAT32_ERROR


@pytest.mark.parametrize("dim", [768, 4096, 100])
def test_wide_and_odd_tokens_are_taken_in_tiles(dim: int, as_stored: AsStored, device: torch.device) -> None:
    if device.type == "cuda" and blocks_for(dim, 2, 2, torch.float16) is None:
        pytest.skip("more than a device holds: in the interpreter alone")
    tokens = as_stored(drawn(2, 20, dim, seed=0), torch.float16)
    assert max(errors(tokens, drawn(2, dim, seed=1) / dim**0.5, parts=2)) < FLOAT32_ERROR


@pytest.mark.parametrize(("dim", "parts"), [(4096, 1), (2048, 2)])
def test_very_wide_tokens_are_pooled_by_eight_queries_at_a_time(
    dim: int, parts: int, as_stored: AsStored
) -> None:
    blocks = blocks_for(dim, 32, parts, torch.float16)
    assert blocks is not None
    assert blocks.queries == 8
    tokens = as_stored(drawn(1, 20, dim, seed=0), torch.float16)
    most = FLOAT32_ERROR if parts == 2 else 4 * ROUNDED[torch.float16]
    assert max(errors(tokens, drawn(9, dim, seed=1) / dim**0.5, parts)) < most


@pytest.mark.parametrize("dtype", EXACT, ids=str)
def test_scores_of_ten_thousand_give_no_infinity(dtype: torch.dtype, as_stored: AsStored) -> None:
    values = drawn(3, 40, 64, seed=0)
    values[:, 5] = 1250.0  # one token far above and one far below all others
    values[:, 33] = -1250.0
    asked = torch.full((2, 64), 1 / 8)
    tokens = as_stored(values, dtype)
    assert (tokens.decoded @ asked.mT.to(tokens.decoded)).abs().max() > 9_000
    # a score of 10⁴ is rounded by 10⁻³ in float32, and a weight is its exponential
    assert max(errors(tokens, asked, EXACT[dtype])) < 2e-3


def error_of_gradient(tokens: StoredTokens, asked: torch.Tensor, parts: int) -> float:
    """Of the queries, against the formula on the stored tokens in float64: relative, of the norm."""
    blocks = blocks_for(tokens.values.shape[-1], len(asked), parts, tokens.values.dtype)
    assert blocks is not None
    device = tokens.values.device
    direction = drawn(len(tokens), len(asked), asked.shape[-1], seed=2).to(device)
    queries = asked.to(device, copy=True).requires_grad_()
    exact = queries.detach().double().requires_grad_()
    (fused_pool(tokens, queries, blocks, parts).float() * direction).sum().backward()
    seen = in_double(tokens)
    (torch.softmax(exact @ seen.mT, dim=-1) @ seen * direction).sum().backward()
    assert queries.grad is not None
    assert exact.grad is not None
    return float((queries.grad - exact.grad).norm() / exact.grad.norm())


def in_double(tokens: StoredTokens) -> torch.Tensor:
    """The very numbers that are stored, seen through LayerNorm where there is one."""
    stored = tokens.values.double()
    if tokens.scales is not None:
        steps, factors = tokens.scales.double().split(tokens.values.shape[1:], dim=-1)
        stored = stored * steps.unsqueeze(-1) * factors.unsqueeze(-2)
    if tokens.norm is None:
        return stored
    assert tokens.norm.weight is not None
    assert tokens.norm.bias is not None
    weight, bias = tokens.norm.weight.double(), tokens.norm.bias.double()
    return torch.nn.functional.layer_norm(stored, stored.shape[-1:], weight, bias, tokens.norm.eps)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int8], ids=str)
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("weight", [None, 1.0, 0.03, 1e-4], ids=str)
def test_channels_that_are_large_in_all_tokens_do_not_drown_the_gradient(
    dtype: torch.dtype, precision: torch.dtype, weight: float | None, as_stored: AsStored
) -> None:
    values = drawn(3, 70, 64, seed=0)
    values[..., 7] += 300.0
    held = as_stored(values, dtype, precision)
    norm = None
    if weight is not None:
        gamma, beta = 1 + 0.3 * drawn(64, seed=5), drawn(64, seed=6)
        gamma[7] = weight
        norm = FinalNorm("layer_norm", 1e-6, gamma.to(held.values.device), beta.to(held.values.device))
    parts = EXACT[dtype] if precision == torch.float32 else 1
    # matrix products in bfloat16 lose all of it, in float32 three digits
    most = 1e-4 if precision == torch.float32 else 6e-3 if dtype != torch.bfloat16 else 3e-2
    assert error_of_gradient(replace(held, norm=norm), drawn(3, 64, seed=1) / 8, parts) < most


@pytest.mark.parametrize("layout", ["images first", "queries first", "one for all"])
def test_gradients_may_come_in_any_layout(layout: str, as_stored: AsStored) -> None:
    tokens, asked = as_stored(drawn(3, 20, 64, seed=0), torch.float16), drawn(2, 64, seed=1) / 8
    blocks = blocks_for(64, 2, 2, torch.float16)
    assert blocks is not None
    direction = drawn(3, 2, 64, seed=2).to(tokens.values.device)
    if layout == "queries first":
        direction = direction.transpose(0, 1).contiguous().transpose(0, 1)
    elif layout == "one for all":
        direction = torch.ones((), device=direction.device).expand(3, 2, 64)
    found = []
    for gradient in (direction, direction.contiguous()):
        queries = asked.to(direction.device).requires_grad_()
        found += torch.autograd.grad(fused_pool(tokens, queries, blocks, 2), queries, gradient)
    assert torch.equal(*found)


@pytest.mark.parametrize("dtype", [torch.float16, torch.int8], ids=str)
def test_images_are_taken_from_where_they_are(dtype: torch.dtype, as_stored: AsStored) -> None:
    held = as_stored(drawn(9, 20, 64, seed=0), dtype)
    items = torch.tensor([7, 0, 3, 3], device=held.values.device)
    scales = None if held.scales is None else held.scales[items]
    blocks = blocks_for(64, 2, 2, dtype)
    assert blocks is not None
    found = []
    for tokens in (
        StoredTokens(held.values, held.scales, torch.float32, items=items),
        StoredTokens(held.values[items], scales, torch.float32),
    ):
        queries = (drawn(2, 64, seed=1) / 8).to(items.device).requires_grad_()
        pooled = fused_pool(tokens, queries, blocks, 2)
        (gradient,) = torch.autograd.grad(pooled.square().sum(), queries)
        found.append((pooled, gradient, tokens.decoded))
        assert len(tokens) == 4
    assert all(map(torch.equal, *found))


def norm_of(kind: NormKind, dim: int, device: torch.device, affine: bool = True) -> FinalNorm:
    """With a weight that is 0 in some channels, and a bias larger than what it is added to."""
    if not affine:
        return FinalNorm(kind, 1e-6, None, None)
    weight, bias = drawn(2, dim, seed=5).to(device)
    weight[::7] = 0
    return FinalNorm(kind, 1e-6, weight, 3 * bias if kind == "layer_norm" else None)


@pytest.mark.parametrize("dtype", EXACT, ids=str)
@pytest.mark.parametrize("kind", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize("affine", [True, False], ids=["affine", "plain"])
def test_tokens_are_seen_through_the_final_norm(
    dtype: torch.dtype, kind: NormKind, affine: bool, as_stored: AsStored
) -> None:
    values = 0.5 + drawn(4, 37, 96, seed=0) * torch.logspace(-1, 1, 37)[:, None]
    held = as_stored(values, dtype)
    norm = norm_of(kind, 96, held.values.device, affine)
    tokens = StoredTokens(held.values, held.scales, torch.float32, norm)
    assert max(errors(tokens, drawn(3, 96, seed=1) / 8, EXACT[dtype])) < 5e-6


@pytest.mark.parametrize("kind", ["layer_norm", "rms_norm"])
def test_normed_tokens_in_one_part_cost_their_rounding_alone(kind: NormKind, as_stored: AsStored) -> None:
    values = drawn(3, 70, 64, seed=0)
    values[..., 7] += 30.0
    held = as_stored(values, torch.float16)
    tokens = StoredTokens(held.values, None, torch.float32, norm_of(kind, 64, held.values.device))
    assert max(errors(tokens, drawn(4, 64, seed=1) / 8, parts=1)) < 8 * ROUNDED[torch.float16]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int8], ids=str)
@pytest.mark.parametrize("kind", ["layer_norm", "rms_norm"])
def test_scales_of_the_norm_are_the_formulas(dtype: torch.dtype, kind: NormKind, as_stored: AsStored) -> None:
    held = as_stored(5 + drawn(3, 21, 100, seed=0), dtype)  # a mean that a sum of squares would drown in
    found = token_scales(held.values, held.scales, FinalNorm(kind, 1e-3, None, None))
    exact = held.decoded.double()
    size = exact.var(dim=-1, correction=0) if kind == "layer_norm" else exact.square().mean(dim=-1)
    wanted = (size + 1e-3).rsqrt()
    if held.scales is not None:
        wanted *= held.scales[:, :21]
    torch.testing.assert_close(found.double(), wanted, rtol=FLOAT32_ERROR, atol=0)


def test_norms_of_another_epsilon_have_other_scales(as_stored: AsStored) -> None:
    held, kept = as_stored(drawn(3, 20, 64, seed=0), torch.float16), dict[str, torch.Tensor]()
    blocks = blocks_for(64, 2, 2, torch.float16)
    assert blocks is not None
    queries = (drawn(2, 64, seed=1) / 8).to(held.values.device)
    for eps in (1e-6, 10.0):
        norm = FinalNorm("rms_norm", eps, None, None)
        tokens = StoredTokens(held.values, None, torch.float32, norm, kept=kept)
        found = fused_pool(tokens, queries, blocks, 2)
        wanted = torch.softmax(queries @ tokens.decoded.mT, dim=-1) @ tokens.decoded
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_the_norms_scales_of_a_split_are_computed_once_for_all_batches(as_stored: AsStored) -> None:
    held = as_stored(drawn(9, 20, 64, seed=0), torch.float16)
    norm, kept = norm_of("layer_norm", 64, held.values.device), dict[str, torch.Tensor]()
    blocks = blocks_for(64, 2, 2, torch.float16)
    assert blocks is not None
    for items in (torch.tensor([7, 0, 3]), torch.tensor([8, 8])):
        queries = (drawn(2, 64, seed=1) / 8).to(held.values.device)
        chosen = items.to(queries.device)
        found = fused_pool(
            StoredTokens(held.values, None, torch.float32, norm, chosen, kept), queries, blocks, 2
        )
        alone = fused_pool(StoredTokens(held.values[chosen], None, torch.float32, norm), queries, blocks, 2)
        torch.testing.assert_close(found, alone)
        assert [scales.shape for scales in kept.values()] == [(9, 20)]


def test_what_is_pooled_has_the_precision_that_is_asked_for(as_stored: AsStored) -> None:
    tokens = as_stored(drawn(3, 20, 64, seed=0), torch.float16, torch.bfloat16)
    queries = (drawn(2, 64, seed=1) / 8).to(tokens.values.device).requires_grad_()
    blocks = blocks_for(64, 2, 1, torch.float16)
    assert blocks is not None
    pooled = fused_pool(tokens, queries, blocks, 1)
    (gradient,) = torch.autograd.grad(pooled.float().square().sum(), queries)
    assert pooled.dtype == torch.bfloat16
    assert gradient.dtype == torch.float32
    exact = tokens.values.double()
    wanted = torch.softmax(queries.detach().double() @ exact.mT, dim=-1) @ exact
    assert (pooled - wanted).norm() < 2.0**-7 * wanted.norm()


def test_equal_tokens_send_no_gradient(as_stored: AsStored) -> None:
    tokens = as_stored(drawn(1, 1, 64, seed=0).expand(2, 30, 64), torch.float16)
    assert max(errors(tokens, drawn(3, 64, seed=1), parts=2)) < FLOAT32_ERROR


@pytest.mark.parametrize("dtype", [torch.float16, torch.int8], ids=str)
@pytest.mark.parametrize("size", [1e-12, 1e8], ids=str)
def test_gradients_beyond_the_range_of_float16_are_kept(
    dtype: torch.dtype, size: float, as_stored: AsStored
) -> None:
    tokens = as_stored(drawn(3, 40, 64, seed=0), dtype)
    assert max(errors(tokens, drawn(2, 64, seed=1) / 8, parts=2, scale=size)) < FLOAT32_ERROR


@pytest.mark.parametrize("size", [1e-7, 1e4])
def test_queries_beyond_the_range_of_float16_are_kept(size: float, as_stored: AsStored) -> None:
    tokens = as_stored(drawn(3, 40, 64, seed=0) / size, torch.bfloat16)
    assert max(errors(tokens, size * drawn(2, 64, seed=1) / 8, parts=3)) < FLOAT32_ERROR


def test_images_whose_channels_differ_a_thousandfold_share_one_sum(as_stored: AsStored) -> None:
    values = drawn(7, 20, 64, seed=0) * torch.logspace(-1.5, 1.5, 7 * 64).view(7, 1, 64)
    tokens = as_stored(values[torch.randperm(7, generator=torch.Generator().manual_seed(3))], torch.int8)
    assert max(errors(tokens, drawn(2, 64, seed=1) / 100, parts=2)) < FLOAT32_ERROR


def test_tokens_that_are_all_zero_are_pooled_to_zero(as_stored: AsStored) -> None:
    tokens = as_stored(torch.zeros(2, 20, 64), torch.int8)
    queries = drawn(2, 64, seed=1).to(tokens.values.device).requires_grad_()
    blocks = blocks_for(64, 2, 2, torch.int8)
    assert blocks is not None
    pooled = fused_pool(tokens, queries, blocks, 2)
    (gradient,) = torch.autograd.grad(pooled.sum(), queries)
    assert not pooled.any()
    assert not gradient.any()


def test_the_same_bits_come_out_each_time(as_stored: AsStored) -> None:
    tokens = as_stored(drawn(7, 20, 64, seed=0), torch.float16)
    blocks = blocks_for(64, 3, 1, torch.float16)
    assert blocks is not None
    found = []
    for _ in range(2):
        queries = drawn(3, 64, seed=1).to(tokens.values.device).requires_grad_()
        (gradient,) = torch.autograd.grad(fused_pool(tokens, queries, blocks, 1).square().sum(), queries)
        found.append(gradient)
    assert torch.equal(*found)


def test_without_a_backward_pass_no_scores_are_kept(
    as_stored: AsStored, monkeypatch: pytest.MonkeyPatch
) -> None:
    from probe.fused import pooling

    kept = []
    launched = pooling.pool

    def pool(*arguments: object, keep: bool) -> Pooled:
        found = launched(*arguments, keep=keep)
        kept.append(found.scores.numel() + found.rest.numel())
        return found

    monkeypatch.setattr(pooling, "pool", pool)
    blocks = blocks_for(64, 3, 1, torch.float16)
    assert blocks is not None
    tokens = as_stored(drawn(2, 20, 64, seed=0), torch.float16)
    fused_pool(tokens, drawn(3, 64, seed=1).to(tokens.values.device), blocks, 1)
    assert kept == [0]

"""What every pooling is held against: its published form, other trials beside it, parameter counts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest
import torch
from torch import nn

from probe.stacked import num_trials, stack

Weights: TypeAlias = dict[str, torch.Tensor]
"""Parameters and buffers of one trial by name, without the trial axis."""
Published: TypeAlias = Callable[[torch.Tensor, Weights], tuple[torch.Tensor, torch.Tensor | None]]
"""Tokens (B, N, D) and weights → pooled (B, O), and attention (B, M, N) where the pooling has it."""


@dataclass(frozen=True)
class TokenShape:
    """A batch of images: `count` tokens, those of the grid and [CLS] before them if `cls`."""

    batch: int
    grid: tuple[int, int]
    cls: bool

    @property
    def count(self) -> int:
        return self.grid[0] * self.grid[1] + self.cls


TOKEN_SHAPES = [
    TokenShape(3, (14, 14), cls=False),
    TokenShape(2, (14, 14), cls=True),
    TokenShape(2, (16, 16), cls=False),
    TokenShape(1, (14, 14), cls=True),
    TokenShape(4, (2, 3), cls=False),
    TokenShape(3, (5, 2), cls=True),
    TokenShape(2, (1, 1), cls=False),
]


def _compare(found: torch.Tensor, wanted: torch.Tensor, what: str) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-10, msg=lambda text: f"{what}: {text}")


def _gradients(output: torch.Tensor, sources: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Of a weighted sum of `output`, the weights the same for outputs of one size."""
    direction = torch.randn(output.numel(), dtype=output.dtype, generator=torch.Generator().manual_seed(7))
    scalar = (output.flatten() * direction).sum()
    return torch.autograd.grad(scalar, sources, retain_graph=True, allow_unused=True, materialize_grads=True)


@pytest.fixture(params=TOKEN_SHAPES, ids=lambda shape: f"{shape.batch}x{shape.grid}{'+cls' * shape.cls}")
def token_shape(request: pytest.FixtureRequest) -> TokenShape:
    """Each of the shapes on which a pooling must work."""
    shape: TokenShape = request.param
    return shape


@pytest.fixture(scope="session")
def draw_tokens() -> Callable[[int, int, int], torch.Tensor]:
    """Tokens (B, N, D), float64, of a spread and a mean that a norm of them would change."""

    def draw(batch: int, count: int, dim: int) -> torch.Tensor:
        drawn = torch.Generator().manual_seed(batch + 10 * count)
        return 0.4 + 1.7 * torch.randn(batch, count, dim, dtype=torch.float64, generator=drawn)

    return draw


@pytest.fixture(scope="session")
def disturbed() -> Callable[..., Any]:
    """A pooling in float64, every parameter moved off its start, where zeros and ones would hide mistakes."""

    def disturb(pooling: nn.Module, seed: int = 0) -> nn.Module:
        drawn = torch.Generator().manual_seed(seed)
        pooling = pooling.double()
        with torch.no_grad():
            for parameter in pooling.parameters():
                parameter.add_(0.4 * torch.randn(parameter.shape, dtype=torch.float64, generator=drawn))
        return pooling

    return disturb


@pytest.fixture(scope="session")
def check_published() -> Callable[[nn.Module, torch.Tensor, Published], None]:
    """A pooling of one trial gives the published form's output, attention and parameter gradients."""

    def check(pooling: nn.Module, tokens: torch.Tensor, published: Published) -> None:
        weights = {name: tensor[0].detach().clone() for name, tensor in pooling.state_dict().items()}
        names = [name for name, _ in pooling.named_parameters()]
        for name in names:
            weights[name].requires_grad_()
        wanted, wanted_maps = published(tokens, weights)
        found = pooling(tokens)
        assert found.shape == (1, len(tokens), pooling.out_dim)
        _compare(found[0], wanted, "output")
        found_gradients = _gradients(found, list(pooling.parameters()))
        wanted_gradients = _gradients(wanted, [weights[name] for name in names])
        for name, gradient, reference in zip(names, found_gradients, wanted_gradients, strict=True):
            _compare(gradient[0], reference, f"gradient of {name}")
        if wanted_maps is not None:
            _compare(pooling.attention(tokens)[0], wanted_maps, "attention")

    return check


@pytest.fixture(scope="session")
def naive_heads() -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """Plain attention: query (B or 1, O), keys (B, N, O), values (B, N, O) → (B, O), maps (B, heads, N)."""

    def attend(
        query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, heads: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        pooled, maps = [], []
        parts = (query.chunk(heads, -1), keys.chunk(heads, -1), values.chunk(heads, -1))
        for query_part, keys_part, values_part in zip(*parts, strict=True):
            scores = (keys_part * query_part.unsqueeze(1)).sum(-1) / math.sqrt(keys_part.shape[-1])
            exponentials = (scores - scores.amax(-1, keepdim=True)).exp()
            weights = exponentials / exponentials.sum(-1, keepdim=True)
            pooled.append((weights.unsqueeze(-1) * values_part).sum(1))
            maps.append(weights)
        return torch.cat(pooled, -1), torch.stack(maps, 1)

    return attend


@pytest.fixture(scope="session")
def naive_block() -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """A plain pre-norm transformer block; tokens (B, N, D) → the same, and maps (B, heads, N, N)."""

    def block(
        tokens: torch.Tensor, weights: Weights, prefix: str, heads: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        def norm(values: torch.Tensor, name: str) -> torch.Tensor:
            scale, shift = weights[f"{prefix}.{name}.weight"], weights[f"{prefix}.{name}.bias"]
            deviations = values - values.mean(-1, keepdim=True)
            return deviations / (deviations.square().mean(-1, keepdim=True) + 1e-5).sqrt() * scale + shift

        def linear(values: torch.Tensor, name: str) -> torch.Tensor:
            found = values @ weights[f"{prefix}.{name}.weight"].T
            bias = weights.get(f"{prefix}.{name}.bias")
            return found if bias is None else found + bias

        attended, maps = [], []
        projected = linear(norm(tokens, "norm1"), "qkv").chunk(3, -1)
        for queries, keys, values in zip(*(part.chunk(heads, -1) for part in projected), strict=True):
            maps.append(torch.softmax(queries @ keys.mT / math.sqrt(keys.shape[-1]), -1))
            attended.append(maps[-1] @ values)
        mixed = tokens + linear(torch.cat(attended, -1), "proj")
        hidden = torch.nn.functional.gelu(linear(norm(mixed, "norm2"), "mlp.inner"))
        return mixed + linear(hidden, "mlp.outer"), torch.stack(maps, 1)

    return block


@pytest.fixture(scope="session")
def check_attention_rows() -> Callable[[nn.Module, torch.Tensor, int], None]:
    """Attention is (K, B, M, N) and its rows sum to 1, for tokens of any size."""

    def check(pooling: nn.Module, tokens: torch.Tensor, maps: int) -> None:
        for scale in (1.0, 1000.0):
            found = pooling.attention(scale * tokens)
            assert found.shape == (num_trials(pooling), len(tokens), maps, tokens.shape[1])
            torch.testing.assert_close(found.sum(dim=-1), torch.ones_like(found[..., 0]))

    return check


@pytest.fixture(scope="session")
def check_trials() -> Callable[[list[nn.Module], torch.Tensor], None]:
    """Modules stacked give what each gives alone: output, gradients, and attention where there is one."""

    def check(alone: list[nn.Module], tokens: torch.Tensor) -> None:
        together = stack(alone)
        found = together(tokens)
        wanted = torch.cat([pooling(tokens) for pooling in alone])
        _compare(found, wanted, "output")
        gradients = _gradients(found, list(together.parameters()))
        references = [_gradients(wanted, list(pooling.parameters())) for pooling in alone]
        for (name, _), gradient, parts in zip(
            together.named_parameters(), gradients, zip(*references, strict=True), strict=True
        ):
            _compare(gradient, torch.cat(parts), f"gradient of {name}")
        if hasattr(together, "attention"):
            maps = torch.cat([pooling.attention(tokens) for pooling in alone])
            _compare(together.attention(tokens), maps, "attention")

    return check


@pytest.fixture(scope="session")
def count_with_head() -> Callable[[Callable[[], nn.Module]], int]:
    """Trainable parameters of the pooling that `make` makes, and of a classifier of 1000 classes."""

    def count(make: Callable[[], nn.Module]) -> int:
        with torch.device("meta"):
            pooling = make()
        parameters = sum(parameter.numel() for parameter in pooling.parameters())
        return parameters + 1000 * pooling.out_dim + 1000

    return count

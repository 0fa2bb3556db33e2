"""Making one query's map uniform, against brute force: a query of zeros scores all tokens alike."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from probe.attention_maps.even_maps import predictions
from probe.probe import Probe, build_probe

DIM, GRID, CLASSES, IMAGES = 64, (2, 3), 7, 40


def _slice_of(heads: int, head: int, width: int = DIM) -> slice:
    return slice(head * width // heads, (head + 1) * width // heads)


def _zero_rows(name: str, *, width: int = DIM) -> Callable[[torch.nn.Module, int, int], None]:
    """Makes zero the rows of head `head` in the linear map `name` that gives the queries."""

    def zero(pooling: torch.nn.Module, heads: int, head: int) -> None:
        linear = pooling.get_submodule(name)
        linear.weight[:, _slice_of(heads, head, width)] = 0
        if linear.bias is not None:
            linear.bias[:, _slice_of(heads, head, width)] = 0

    return zero


def _zero_channels(name: str) -> Callable[[torch.nn.Module, int, int], None]:
    def zero(pooling: torch.nn.Module, heads: int, head: int) -> None:
        pooling.get_parameter(name)[..., _slice_of(heads, head)] = 0

    return zero


def _zero_query(pooling: torch.nn.Module, heads: int, head: int) -> None:
    pooling.get_parameter("queries_KMD")[:, head] = 0


def _zero_all(name: str) -> Callable[[torch.nn.Module, int, int], None]:
    return lambda pooling, heads, head: pooling.get_parameter(name).zero_()


BRUTE_FORCE: dict[str, tuple[int, Callable[[torch.nn.Module, int, int], None]]] = {
    "ep8": (8, _zero_query),
    "ep4_d2": (4, _zero_query),
    "ep8+cls": (8, _zero_query),
    "mhca8": (8, _zero_rows("query")),
    "aim": (16, _zero_channels("query_K1D")),
    "vjepa": (16, _zero_rows("cross_attention.query")),
    "vjepa2": (16, _zero_rows("query")),
    "simpool": (1, _zero_all("query.weight")),
    "esimpool1": (1, _zero_all("norm.weight")),
    "cae": (8, _zero_rows("query")),
    "capi": (1, _zero_channels("query_KD")),
    "clip": (4, _zero_rows("qkv", width=DIM)),
    "siglip": (8, _zero_rows("cross_attention.query")),
    "coca": (8, _zero_rows("query", width=8 * 64)),
    "cait": (4, _zero_rows("query")),
    "abmilp": (1, _zero_all("score.weight")),
    "abmilp_linear": (1, _zero_all("score.weight")),
}


def _probe(name: str) -> Probe:
    """Far from its start, so that maps are not uniform; in eval mode, float64."""
    torch.manual_seed(0)
    probe = build_probe(name, DIM, CLASSES, GRID).double()
    with torch.no_grad():
        for key, parameter in probe.named_parameters():
            if key != "pooling.norm.weight" or name != "esimpool1":
                parameter.add_(0.2 * torch.randn_like(parameter))
    probe(torch.randn(64, 6 + (probe.token_set == "all"), DIM, dtype=torch.float64))  # running statistics
    return probe.eval().requires_grad_(False)


def _tokens(probe: Probe) -> torch.Tensor:
    drawn = torch.Generator().manual_seed(1)
    return torch.randn(IMAGES, 6 + (probe.token_set == "all"), DIM, dtype=torch.float64, generator=drawn)


@pytest.mark.parametrize("name", BRUTE_FORCE)
def test_a_uniform_map_is_that_of_a_query_of_zeros(name: str) -> None:
    heads, zero = BRUTE_FORCE[name]
    probe = _probe(name)
    tokens = _tokens(probe)
    pooling = probe.pooling
    pooled, uniform = pooling.pool(tokens), pooling.pool_evenly(tokens)
    uniform = uniform.expand_as(pooled)
    assert pooled.shape[2] == heads
    for head in range(heads):
        changed = pooled.clone()
        changed[:, :, head] = uniform[:, :, head]
        other = _probe(name)
        zero(other.pooling, heads, head)
        torch.testing.assert_close(pooling.finish(changed), other.pooling(tokens))


def test_the_classes_are_those_of_each_changed_probe() -> None:
    probe = _probe("ep8")
    tokens = _tokens(probe)
    found, changed = predictions(probe, tokens)
    torch.testing.assert_close(found, probe(tokens)[0].argmax(dim=1))
    assert changed is not None
    for query in range(8):
        other = _probe("ep8")
        _zero_query(other.pooling, 8, query)
        torch.testing.assert_close(changed[:, query], other(tokens)[0].argmax(dim=1))
    assert (changed != found.unsqueeze(1)).any()


@pytest.mark.parametrize("name", ["cbam", "delf", "vit"])
def test_maps_without_a_uniform_counterpart_are_left_out(name: str) -> None:
    probe = _probe(name)
    tokens = _tokens(probe)
    found, changed = predictions(probe, tokens)
    assert changed is None
    torch.testing.assert_close(found, probe(tokens)[0].argmax(dim=1))

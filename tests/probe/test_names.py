"""What the names of probes mean."""

from __future__ import annotations

import pytest

from configs import UserError
from probe import TokenSet, probe_spec
from probe.poolings import EfficientPooling


@pytest.mark.parametrize(("name", "token_set"), [("lp", "cls"), ("lp_mean", "mean")])
def test_linear_probes_read_one_vector_and_pool_nothing(name: str, token_set: TokenSet) -> None:
    spec = probe_spec(name)
    assert spec.token_set == token_set
    assert spec.pooling(768) is None


@pytest.mark.parametrize(
    ("name", "token_set", "queries", "out_dim"),
    [
        ("ep", "patches", 32, 1024),
        ("ep1", "patches", 1, 1024),
        ("ep32", "patches", 32, 1024),
        ("ep64_d8", "patches", 64, 128),
        ("ep_d2", "patches", 32, 512),
        ("ep32+cls", "all", 32, 1024),
        ("ep+cls", "all", 32, 1024),
        ("ep16_d4+cls", "all", 16, 256),
    ],
)
def test_ep_names_state_queries_divisor_and_tokens(
    name: str, token_set: TokenSet, queries: int, out_dim: int
) -> None:
    spec = probe_spec(name)
    pooling = spec.pooling(1024)
    assert isinstance(pooling, EfficientPooling)
    assert spec.token_set == token_set
    assert pooling.queries_MD.shape == (queries, 1024)
    assert pooling.out_dim == out_dim


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("ep16x", "did you mean ep16"),
        ("lp-mean", "did you mean lp_mean"),
        ("Ep32", "did you mean ep32"),
        ("ep32_d", "did you mean ep32"),
        ("ep 8", "did you mean ep8"),
        ("ep32+CLS", "did you mean ep32 or ep32\\+cls"),
        ("attention", "known: ep16, ep32, ep32\\+cls, .*, lp, lp_mean"),
        ("", "known: ep16"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_ones(name: str, nearest: str) -> None:
    with pytest.raises(UserError, match=f"unknown probe '{name}'; {nearest}".replace("+CLS", "\\+CLS")):
        probe_spec(name)


@pytest.mark.parametrize("name", ["lp+cls", "lp_mean+cls"])
def test_cls_for_a_linear_probe_has_a_message_of_its_own(name: str) -> None:
    with pytest.raises(UserError, match=r"\+cls adds .CLS. to the tokens of an attentive probe"):
        probe_spec(name)


@pytest.mark.parametrize("name", ["ep0", "ep8_d0", "ep0+cls"])
def test_zero_queries_or_a_zero_divisor_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="start at 1"):
        probe_spec(name)

"""What the names of probes mean."""

from __future__ import annotations

import pytest

from configs import UserError
from probe import TokenSet, probe_spec
from probe.families import TokenGeometry
from probe.names import CLOSED_FORM, known_names
from probe.poolings import EfficientPooling

TOKENS = TokenGeometry(1024, (14, 14))


@pytest.mark.parametrize(("name", "token_set"), [("lp", "cls"), ("lp_mean", "mean")])
def test_linear_probes_read_one_vector_and_pool_nothing(name: str, token_set: TokenSet) -> None:
    spec = probe_spec(name)
    assert spec.token_set == token_set
    assert spec.pooling(TOKENS) is None


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
    pooling = spec.pooling(TOKENS)
    assert isinstance(pooling, EfficientPooling)
    assert spec.token_set == token_set
    assert pooling.queries_KMD.shape == (1, queries, 1024)
    assert pooling.out_dim == out_dim


@pytest.mark.parametrize(
    ("given", "full"),
    [
        ("ep", "ep32"),
        ("ep_d2", "ep32_d2"),
        ("ep16_d1+cls", "ep16+cls"),
        ("mhca", "mhca8"),
        ("mhca12", "mhca12"),
        ("aim16", "aim"),
        ("aim8", "aim8"),
        ("simpool+cls", "simpool+cls"),
    ],
)
def test_a_name_is_completed_with_what_is_published(given: str, full: str) -> None:
    assert probe_spec(given).name == full


@pytest.mark.parametrize("name", [name for name in known_names() if name not in CLOSED_FORM])
def test_every_known_name_is_a_full_name_and_makes_its_probe(name: str) -> None:
    spec = probe_spec(name)
    assert spec.name == name
    assert (spec.pooling(TokenGeometry(192, (14, 14))) is None) == (spec.family is None)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("eq32", "did you mean ep32"),
        ("lp-mean", "did you mean lp_mean"),
        ("Ep32", "did you mean ep32"),
        ("ep32_d", "did you mean ep32"),
        ("ep 8", "did you mean ep32"),
        ("ep32+CLS", "did you mean ep32"),
        ("simpol", "did you mean simpool"),
        ("attention", "known: .*ep32.*, lp, lp_mean"),
        ("", "known: .*ep32.*, lp, lp_mean"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_ones(name: str, nearest: str) -> None:
    with pytest.raises(UserError, match=f"unknown probe '{name}'; {nearest}".replace("+CLS", "\\+CLS")):
        probe_spec(name)


@pytest.mark.parametrize("name", ["lp+cls", "lp_mean+cls"])
def test_cls_for_a_linear_probe_has_a_message_of_its_own(name: str) -> None:
    with pytest.raises(UserError, match=r"\+cls adds .CLS. to the tokens of an attentive probe"):
        probe_spec(name)


@pytest.mark.parametrize("name", ["ep0", "ep8_d0", "ep0+cls", "mhca0"])
def test_zero_queries_heads_or_a_zero_divisor_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="start at 1"):
        probe_spec(name)


@pytest.mark.parametrize("name", ["simpool4", "delf8+cls"])
def test_a_number_is_refused_where_none_can_be_chosen(name: str) -> None:
    with pytest.raises(UserError, match=f"probe '{name}': .* takes no number".replace("+", "\\+")):
        probe_spec(name)


@pytest.mark.parametrize("name", ["mhca8_d2", "aim_d4"])
def test_a_divisor_is_refused_for_other_families_than_ep(name: str) -> None:
    with pytest.raises(UserError, match="divides the output width of ep, not of"):
        probe_spec(name)

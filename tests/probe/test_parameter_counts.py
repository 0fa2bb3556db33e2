"""Trainable parameters with 1000 classes, as published for efficient probing (arXiv 2506.10178)."""

from __future__ import annotations

import pytest

from probe import build_probe


@pytest.mark.parametrize("name", ["lp", "lp_mean"])
@pytest.mark.parametrize(("dim", "published"), [(384, 385_000), (768, 769_000), (1024, 1_025_000)])
def test_linear_probes_have_the_published_parameters(name: str, dim: int, published: int) -> None:
    assert build_probe(name, dim, 1000).num_parameters == published


@pytest.mark.parametrize(("dim", "published"), [(384, 544_744), (768, 1_383_400), (1024, 2_106_344)])
def test_ep32_has_the_published_parameters_at_every_width(dim: int, published: int) -> None:
    assert build_probe("ep32", dim, 1000).num_parameters == published


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("ep8", 1_364_968),
        ("ep16", 1_371_112),
        ("ep64", 1_407_976),
        ("ep128", 1_457_128),
        ("ep32_d2", 704_488),
        ("ep32_d4", 365_032),
        ("ep32_d8", 195_304),
    ],
)
def test_ep_variants_have_the_published_parameters_at_width_768(name: str, published: int) -> None:
    assert build_probe(name, 768, 1000).num_parameters == published


def test_reading_cls_too_adds_no_parameters() -> None:
    assert build_probe("ep32+cls", 768, 1000).num_parameters == 1_383_400

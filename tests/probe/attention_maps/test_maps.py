"""Maps are distributions over the patches."""

from __future__ import annotations

import pytest
import torch

from probe.attention_maps.maps import has_maps, patch_maps
from probe.names import CLOSED_FORM, LINEAR, known_names
from probe.probe import build_probe

ATTENTIVE = [name for name in known_names() if name not in (*LINEAR, *CLOSED_FORM)]


@pytest.mark.parametrize("name", ATTENTIVE)
def test_every_attentive_probe_has_maps_that_sum_to_1(name: str) -> None:
    probe = build_probe(name, 192, 3, (2, 5)).eval()
    maps, share = patch_maps(probe, torch.randn(4, 10, 192))
    assert has_maps(probe)
    assert (len(maps), maps.shape[2]) == (4, 10)
    torch.testing.assert_close(maps.sum(dim=-1), torch.ones(maps.shape[:2]))
    assert (share > 0).all()


def test_linear_probes_have_no_maps() -> None:
    assert not has_maps(build_probe("lp", 12, 3))


def test_the_weight_of_cls_is_left_out_and_told() -> None:
    probe = build_probe("ep4+cls", 12, 3, (2, 3)).eval()
    tokens = torch.randn(2, 7, 12)
    weights = probe.pooling.attention(tokens)[0]
    maps, share = patch_maps(probe, tokens)
    torch.testing.assert_close(share, 1 - weights[..., 0])
    torch.testing.assert_close(maps, weights[..., 1:] / share.unsqueeze(-1))

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch

from cache import FinalNorm
from cache.final_norm import load_final_norm
from configs import UserError

Kind = Literal["layer_norm", "rms_norm"]


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _norm(kind: Kind) -> FinalNorm:
    bias = _random(8, seed=2) if kind == "layer_norm" else None
    return FinalNorm(kind, 1e-3, _random(8, seed=1), bias)


def test_layer_norm_is_that_of_torch() -> None:
    norm = _norm("layer_norm")
    module = torch.nn.LayerNorm(8, eps=1e-3)
    module.load_state_dict({"weight": norm.weight, "bias": norm.bias})
    assert torch.equal(norm(_random(2, 3, 8)), module(_random(2, 3, 8)))


def test_rms_norm_is_that_of_torch() -> None:
    norm = _norm("rms_norm")
    module = torch.nn.RMSNorm(8, eps=1e-3)
    module.load_state_dict({"weight": norm.weight})
    assert torch.equal(norm(_random(2, 3, 8)), module(_random(2, 3, 8)))


def test_norm_without_weights_is_that_of_torch() -> None:
    module = torch.nn.LayerNorm(8, eps=1e-3, elementwise_affine=False)
    assert torch.equal(FinalNorm("layer_norm", 1e-3, None, None)(_random(2, 8)), module(_random(2, 8)))


@pytest.mark.parametrize("kind", ["layer_norm", "rms_norm"])
def test_norm_reads_as_it_was_saved(tmp_path: Path, kind: Kind) -> None:
    norm = _norm(kind)
    norm.save(tmp_path)
    loaded = load_final_norm(tmp_path, norm.description)
    assert (loaded.kind, loaded.eps) == (kind, 1e-3)
    assert torch.equal(loaded(_random(2, 3, 8)), norm(_random(2, 3, 8)))


@pytest.mark.parametrize("kind", ["layer_norm", "rms_norm"])
def test_absent_weights_are_absent_after_saving(tmp_path: Path, kind: Kind) -> None:
    norm = FinalNorm(kind, 1e-6, None, None)
    norm.save(tmp_path)
    loaded = load_final_norm(tmp_path, norm.description)
    assert (loaded.weight, loaded.bias) == (None, None)


def test_a_missing_norm_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing or damaged"):
        load_final_norm(tmp_path, _norm("layer_norm").description)


def test_the_norm_of_another_backbone_is_refused(tmp_path: Path) -> None:
    _norm("layer_norm").save(tmp_path)
    with pytest.raises(UserError, match="is damaged: it holds layer_norm"):
        load_final_norm(tmp_path, _norm("rms_norm").description)


def test_description_tells_kind_and_eps() -> None:
    assert FinalNorm("rms_norm", 1e-6, None, None).description == "rms_norm eps 1e-06 crc32c 00000000"

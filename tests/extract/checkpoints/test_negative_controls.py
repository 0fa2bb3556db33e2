"""What shapes do not show: each of these loads without an error, and the golden values refuse its tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from configs import UserError
from extract import Backbone
from extract.models import capi

State = dict[str, torch.Tensor]
Golden = Mapping[str, Mapping[str, Any]]
Opened = Callable[..., Backbone]
Tokens = Callable[..., dict[str, torch.Tensor]]
Official = Callable[..., State]

VIT = {"d": 96, "depth": 3}
SMALL = {"embed_dim": 96, "depth": 3, "num_heads": 4}
SMALL_128 = {"embed_dim": 128, "depth": 3, "num_heads": 2}


@pytest.fixture
def wrong(all_tokens: Tokens, golden: Golden, differs: Callable[..., bool]) -> Callable[..., bool]:
    """Whether a backbone's last tokens, before or after the norm, are another thing than a record says."""

    def check(backbone: Backbone, record: str, state: str = "pre", side: int = 224) -> bool:
        return differs(all_tokens(backbone, side=side)[state], golden[record])

    return check


def test_another_number_of_heads(
    opened: Opened, official_state: Official, wrong: Callable[..., bool]
) -> None:
    state = official_state("vit", **VIT)
    assert wrong(opened("mae_vits", {**SMALL, "num_heads": 6}, state), "vit")
    assert not wrong(opened("mae_vits", SMALL, state), "vit")


def test_gelu_for_quickgelu(opened: Opened, official_state: Official, wrong: Callable[..., bool]) -> None:
    state = official_state("clip", d=128, depth=3, patch=16, out=64)
    content = {f"visual.{name}": tensor for name, tensor in state.items()}
    source = "timm:vit_base_patch16_clip_224.openai"
    assert wrong(opened("clip_vitb", SMALL_128, content, source=source), "clip")
    assert not wrong(opened("clip_vitb", SMALL_128, content), "clip")


def test_swapped_halves_of_gate_and_value(
    opened: Opened, official_state: Official, wrong: Callable[..., bool]
) -> None:
    state = official_state("dinov2", d=96, depth=4, swiglu=256, chunks=4)
    swapped = {
        name: torch.cat(tensor.chunk(2)[::-1]) if ".w12." in name else tensor
        for name, tensor in state.items()
    }
    arguments = {**SMALL, "depth": 4, "mlp_ratio": 2 * 256 / 96}
    assert wrong(opened("franca_vitl", arguments, {"teacher": swapped}), "franca")


def test_no_relative_position_bias(
    opened: Opened, official_state: Official, wrong: Callable[..., bool]
) -> None:
    state = official_state("beit", **VIT, heads=4)
    state["rel_pos_bias.relative_position_bias_table"].zero_()
    assert wrong(opened("beitv2_vitb", SMALL, {"model": state}), "beit")


def test_the_norm_of_the_pooled_features_for_that_of_the_tokens(
    opened: Opened, official_state: Official, wrong: Callable[..., bool]
) -> None:
    state = official_state("beit", **VIT, heads=4)
    state |= {f"fc_norm.{name}": state.pop(f"norm.{name}") for name in ("weight", "bias")}
    backbone = opened("beitv2_vitb", {**SMALL, "global_pool": "avg"}, {"model": state})
    assert backbone.final_norm is None
    assert wrong(backbone, "beit_post", "post")


def test_the_norm_of_the_tokens_is_not_dropped_where_the_model_has_another(
    opened: Opened, official_state: Official
) -> None:
    state = official_state("beit", **VIT, heads=4)
    with pytest.raises(UserError, match=r"missing fc_norm.weight, fc_norm.bias; unexpected norm.weight"):
        opened("beitv2_vitb", {**SMALL, "global_pool": "avg"}, {"model": state})


def test_a_bias_of_the_keys(opened: Opened, official_state: Official, wrong: Callable[..., bool]) -> None:
    state = official_state("dinov3", d=128, depth=3)
    backbone = opened("dinov3_vitb", SMALL_128, state)
    assert not wrong(backbone, "dinov3")
    for number, block in enumerate(backbone.model.blocks):
        block.attn.k_bias.copy_(state[f"blocks.{number}.attn.qkv.bias"].chunk(3)[1])
    # without the rotation it would add the same to all logits of a query
    assert wrong(backbone, "dinov3")


def test_timms_resize_of_positions_for_dinov2(
    opened: Opened, official_state: Official, wrong: Callable[..., bool]
) -> None:
    assert wrong(opened("dinov2_vitb", SMALL, official_state("dinov2", **VIT), layout="plain"), "dinov2")


@pytest.mark.parametrize("padding", ["torchvision's for DeepMind's", "TensorFlow's for OpenMMLab's"])
def test_the_other_padding(
    padding: str, opened: Opened, official_state: Official, wrong: Callable[..., bool]
) -> None:
    state = official_state("resnet50")
    name, record = ("byol_rn50", "resnet50_same") if "Deep" in padding else ("byol_rn50_deepmind", "resnet50")
    assert wrong(opened(name, {}, state, layout="byol_mm"), record, side=64)


def test_textbook_rotation_in_capi(
    opened: Opened, official_state: Official, wrong: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def textbook(self: nn.Module, x: torch.Tensor, coordinates: torch.Tensor) -> torch.Tensor:
        freqs = self.get_buffer("freqs")
        half = freqs.shape[1] // 2
        pairs = torch.cat([freqs[0, : half // 2], freqs[1, half : half + half // 2]])
        axis = torch.stack([pairs, pairs])
        axis[0, half // 2 :], axis[1, : half // 2] = 0, 0
        angle = (coordinates @ axis).repeat(1, 2)
        first, second = x.chunk(2, dim=-1)
        return x * angle.cos() + torch.cat([-second, first], dim=-1) * angle.sin()

    monkeypatch.setattr(capi._Rope, "forward", textbook)
    state = official_state("capi", d=128, depth=3, decoder_depth=2, heads=4)
    content = {f"backbone.{name}": tensor for name, tensor in state.items()}
    assert wrong(opened("capi_vitl", {"dim": 128, "depth": 3, "num_heads": 4}, content), "capi")


def test_an_eps_of_another_kind(opened: Opened, official_state: Official, wrong: Callable[..., bool]) -> None:
    state = official_state("vit", **VIT)
    arguments = {**SMALL, "norm_layer": partial(nn.LayerNorm, eps=1e-2)}
    assert wrong(opened("mae_vitb", arguments, state), "vit")

"""What a layout refuses, and what the file may be."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from configs import UserError, load_backbone, names
from extract import Backbone
from extract.checkpoints import LAYOUTS

State = dict[str, torch.Tensor]
Opened = Callable[..., Backbone]

SMALL = {"embed_dim": 96, "depth": 3, "num_heads": 4}


@pytest.fixture
def vit(official_state: Callable[..., State]) -> State:
    """The small ViT of MAE, DINO, iBOT and MoCo v3."""
    return official_state("vit", d=96, depth=3)


@pytest.mark.parametrize("name", names("backbones"))
def test_every_backbone_names_a_layout_that_exists(name: str) -> None:
    assert load_backbone(name).layout in LAYOUTS


def test_every_layout_is_the_one_of_a_backbone() -> None:
    assert {load_backbone(name).layout for name in names("backbones")} == set(LAYOUTS)


def test_missing_and_unexpected_tensors_are_listed_with_the_layouts_tried(opened: Opened, vit: State) -> None:
    vit["decoder.weight"] = vit.pop("norm.weight")
    with pytest.raises(
        UserError, match=r"layouts tried: ibot, plain.*missing norm.weight; unexpected decod"
    ) as no:
        opened("ibot_vitb", SMALL, {"state_dict": vit})
    assert "\n" not in str(no.value)


def test_only_some_of_many_tensors_are_listed(opened: Opened, vit: State) -> None:
    with pytest.raises(UserError, match=r"cls_token, pos_embed, .* and \d+ more; unexpected x$"):
        opened("ibot_vitb", SMALL, {"state_dict": {"x": vit["cls_token"]}})


def test_a_tensor_of_another_shape_is_listed(opened: Opened, vit: State) -> None:
    vit["norm.weight"] = torch.zeros(3)
    with pytest.raises(UserError, match=r"of another shape norm\.weight"):
        opened("ibot_vitb", SMALL, {"state_dict": vit})


def test_a_used_tensor_with_nan_is_listed(opened: Opened, vit: State) -> None:
    vit["norm.weight"][5] = torch.nan
    with pytest.raises(UserError, match=r"with NaN norm\.weight"):
        opened("ibot_vitb", SMALL, {"state_dict": vit})


def test_a_projector_is_no_head_of_another_family(opened: Opened, vit: State) -> None:
    with pytest.raises(UserError, match=r"unexpected rasa_head\.weight"):
        opened("dino_vitb", SMALL, vit | {"rasa_head.weight": torch.ones(2)})


def test_two_tensors_of_one_name_are_refused(opened: Opened, vit: State) -> None:
    twice = {prefix + name: t for name, t in vit.items() for prefix in ("backbone.", "module.backbone.")}
    with pytest.raises(UserError, match="two tensors have one name"):
        opened("dino_vitb", SMALL, twice)


def test_a_file_of_the_models_own_names_loads_too(
    official_state: Callable[..., State], opened: Opened
) -> None:
    state = official_state("dinov2", d=96, depth=3, registers=4)
    own = opened("dinov2_vitb_reg", SMALL, state)
    again = opened("dinov2_vitb_reg", SMALL, own.model.state_dict())
    assert again.identity().weights_sha256 == own.identity().weights_sha256


def test_without_a_layout_any_that_fits_is_taken(opened: Opened, vit: State) -> None:
    content = {"state_dict": {f"module.base_encoder.{name}": tensor for name, tensor in vit.items()}}
    backbone = opened("ibot_vitb", SMALL, content, layout=None)
    assert torch.equal(backbone.model.cls_token, vit["cls_token"])


def test_without_a_layout_a_file_that_fits_none_is_reported_by_the_models_own_names(
    opened: Opened, vit: State
) -> None:
    vit["decoder.weight"] = vit.pop("norm.weight")
    with pytest.raises(UserError, match=r"as plain: missing norm\.weight; unexpected decoder\.weight"):
        opened("ibot_vitb", SMALL, vit, layout=None)


def test_a_namespace_beside_the_weights_is_harmless(opened: Opened, vit: State) -> None:
    opened("mae_vitb", SMALL, {"model": vit, "args": argparse.Namespace(lr=0.1)})


def test_anything_else_that_is_pickled_is_refused(opened: Opened, vit: State) -> None:
    with pytest.raises(UserError, match="cannot read"):
        opened("mae_vitb", SMALL, {"model": vit, "config": Path("x")})


def test_a_file_that_holds_a_list_is_refused(opened: Opened) -> None:
    with pytest.raises(UserError, match="holds a list, not tensors by name"):
        opened("mae_vitb", SMALL, [torch.zeros(2)])


def test_safetensors_are_read_in_their_layout(opened: Opened, vit: State, tmp_path: Path) -> None:
    from extract.weights import load_checkpoint

    model = opened("mae_vitb", SMALL, vit).model
    with torch.no_grad():
        model.cls_token.zero_()
    named = {f"module.base_encoder.{name}": tensor for name, tensor in vit.items()}
    safetensors.torch.save_file(named, tmp_path / "weights.safetensors")
    load_checkpoint(model, tmp_path / "weights.safetensors", "moco_v3")
    assert torch.equal(model.cls_token, vit["cls_token"])


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_clips_own_file_is_torchscript_in_half_precision(
    official_state: Callable[..., State], opened: Opened, tmp_path: Path
) -> None:
    from extract.weights import load_checkpoint

    state = official_state("clip", d=128, depth=3, patch=16, out=64)
    content = {f"visual.{name}": tensor for name, tensor in state.items()}
    backbone = opened("clip_vitb", {**SMALL, "embed_dim": 128, "num_heads": 2}, content)
    wanted = backbone.model.state_dict()["blocks.2.mlp.fc1.weight"].half().float()
    halves = _tree({name: tensor.half() for name, tensor in content.items()})
    torch.jit.script(halves).save(tmp_path / "ViT.pt")
    with torch.no_grad():
        backbone.model.blocks[2].mlp.fc1.weight.zero_()
    load_checkpoint(backbone.model, tmp_path / "ViT.pt", "clip")
    assert torch.equal(backbone.model.blocks[2].mlp.fc1.weight, wanted)


class _Node(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def _tree(state: State) -> nn.Module:
    """A module whose tensors have the names of `state`."""
    root = _Node()
    for name, tensor in state.items():
        *path, last = name.split(".")
        node: nn.Module = root
        for part in path:
            if not hasattr(node, part):
                node.add_module(part, _Node())
            node = node.get_submodule(part)
        node.register_buffer(last, tensor)
    return root


def test_the_periods_of_a_dinov3_file_are_used_and_part_of_the_identity(
    official_state: Callable[..., State],
    opened: Opened,
    all_tokens: Callable[..., dict[str, torch.Tensor]],
) -> None:
    state = official_state("dinov3", d=128, depth=3)
    arguments = {**SMALL, "embed_dim": 128, "num_heads": 2}
    own = opened("dinov3_vitb", arguments, state)
    state["rope_embed.periods"] = state["rope_embed.periods"].bfloat16()
    rounded = opened("dinov3_vitb", arguments, state)
    assert not torch.equal(all_tokens(own)["pre"], all_tokens(rounded)["pre"])
    assert own.identity().weights_sha256 != rounded.identity().weights_sha256

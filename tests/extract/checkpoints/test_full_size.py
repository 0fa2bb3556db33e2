"""At full size: names and shapes of the official files are those of the models, and so are the counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import nn

from configs import load_backbone
from extract.checkpoints import LAYOUTS
from extract.models.latents import LatentEncoder
from extract.routes import ROUTES

Shapes = dict[str, tuple[int, ...]]

S, B, L, H = (
    {"d": 384, "depth": 12}, {"d": 768, "depth": 12}, {"d": 1024, "depth": 24}, {"d": 1280, "depth": 32}
)  # fmt: skip
H14 = {**H, "patch": 14, "grid": 16}
FILES: dict[str, tuple[str, Mapping[str, Any], str, int]] = {
    # name: family, sizes, prefix of the file, parameters of the model
    "mae_vits": ("vit", S, "", 21_665_664),
    "mae_vits_6heads": ("vit", S, "", 21_665_664),
    "mae_vitb": ("vit", B, "", 85_798_656),
    "mae_vitl": ("vit", L, "", 303_301_632),
    "mae_vith": ("vit", H14, "", 630_764_800),
    "dino_vits": ("vit", S, "", 21_665_664),
    "dino_vitb": ("vit", B, "", 85_798_656),
    "ibot_vits": ("vit", S, "", 21_665_664),
    "ibot_vitb": ("vit", B, "", 85_798_656),
    "ibot_vitl": ("vit", L, "", 303_301_632),
    "mocov3_vits": ("vit", S, "module.base_encoder.", 21_665_664),
    "mocov3_vitb": ("vit", B, "module.base_encoder.", 85_798_656),
    "ijepa_vith": ("vit", {**H14, "cls": False}, "module.", 630_764_800 - 2 * 1280),
    "beitv2_vitb": ("beitv2", {**B, "heads": 12, "vocabulary": 8192}, "", 85_665_360),
    "simmim_vitb": ("beit", {**B, "heads": 12}, "encoder.", 85_665_360),
    "dinov2_vits": ("dinov2", S, "", 0),
    "dinov2_vitb": ("dinov2", B, "", 0),
    "dinov2_vitl": ("dinov2", L, "", 0),
    "dinov2_vitg": ("dinov2", {"d": 1536, "depth": 40, "swiglu": 4096}, "", 0),
    "dinov2_vits_reg": ("dinov2", {**S, "registers": 4}, "", 0),
    "dinov2_vitb_reg": ("dinov2", {**B, "registers": 4}, "", 0),
    "dinov2_vitl_reg": ("dinov2", {**L, "registers": 4}, "", 0),
    "dinov2_vitg_reg": ("dinov2", {"d": 1536, "depth": 40, "swiglu": 4096, "registers": 4}, "", 0),
    # stated of the grid of 518: 1369 positions, of which 256 are left
    "franca_vitb": (
        "dinov2",
        {**B, "swiglu": 2048, "chunks": 4},
        "module.backbone.",
        86_592_000 - 1113 * 768,
    ),
    "franca_vitl": ("dinov2", {**L, "swiglu": 2736, "chunks": 4}, "backbone.", 304_793_856 - 1113 * 1024),
    "dinov3_vits": ("dinov3", S, "", 0),
    "dinov3_vitb": ("dinov3", B, "", 0),
    "dinov3_vitl": ("dinov3", L, "", 0),
    "clip_vitb": ("clip", {**B, "patch": 16, "out": 512}, "visual.", 0),
    "clip_vitl": ("clip", {**L, "patch": 14, "out": 768}, "visual.", 0),
    "aimv2_vitl": ("aimv2", {**L, "hidden": 2816}, "", 0),
    "byol_rn50": ("resnet50", {}, "backbone.", 23_508_032),
}
OWN: dict[str, tuple[str, Mapping[str, Any], str]] = {
    **{name: row[:3] for name, row in FILES.items()},
    **{
        f"capi_vitl{data}": ("capi", {**L, "decoder_depth": 12, "heads": 16}, "backbone.")
        for data in ("", "_in22k", "_lvd", "_places205")
    },
}


def on_meta(name: str) -> nn.Module:
    """The named architecture without memory."""
    config = load_backbone(name)
    route, _, entry = config.source.partition(":")
    with torch.device("meta"):
        return ROUTES[route].create(entry, config.arguments, pretrained=False)


def parameters(shapes: Shapes, left_out: tuple[str, ...] = ()) -> int:
    """How many numbers, less those of tensors whose names hold one of `left_out`."""
    return sum(math.prod(s) for name, s in shapes.items() if not any(word in name for word in left_out))


@pytest.mark.parametrize("name", OWN)
def test_official_names_and_shapes_are_those_of_the_model(
    name: str, official_shapes: Callable[..., Shapes]
) -> None:
    family, sizes, prefix = OWN[name]
    model, layout = on_meta(name), LAYOUTS[load_backbone(name).layout or ""]
    content = {
        prefix + key: torch.empty(shape, device="meta")
        for key, shape in official_shapes(family, **sizes).items()
    }
    wrapped = dict.fromkeys(layout.wrappers[:1], content)
    state = layout.convert(layout.unwrap(wrapped), model)
    own = model.state_dict()
    kept = {key: tensor.shape for key, tensor in state.items() if not layout.may_drop(key) or key in own}
    assert kept == {key: tensor.shape for key, tensor in own.items()}


@pytest.mark.parametrize("name", [name for name, row in FILES.items() if row[3]])
def test_models_have_the_stated_number_of_parameters(name: str) -> None:
    assert sum(p.numel() for p in on_meta(name).parameters()) == FILES[name][3]


def test_capi_has_the_stated_number_of_parameters(official_shapes: Callable[..., Shapes]) -> None:
    file = official_shapes("capi", **L, decoder_depth=12, heads=16)
    assert len(file) == 328
    assert parameters(file) == 453_683_712
    encoder = ("mask_token", "decoder")
    assert parameters(file, encoder) == 302_661_632
    own = on_meta("capi_vitl").state_dict()
    assert parameters({name: tuple(t.shape) for name, t in own.items()}, encoder) == 302_661_632


def test_dit_has_the_stated_number_of_parameters(official_shapes: Callable[..., Shapes]) -> None:
    file = official_shapes("dit", c=1152, depth=28)
    assert parameters(file) == 675_129_632
    assert len(file) == 292
    model = on_meta("dit_xl")
    ours = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("vae."))
    assert ours == parameters(file, ("final_layer",))


def test_dits_names_and_shapes_are_those_of_the_model(official_shapes: Callable[..., Shapes]) -> None:
    model = on_meta("dit_xl")
    content = {k: torch.empty(s, device="meta") for k, s in official_shapes("dit", c=1152, depth=28).items()}
    content |= {f"vae.{name}": tensor for name, tensor in model.get_submodule("vae").state_dict().items()}
    layout = LAYOUTS["dit"]
    state = layout.convert(layout.unwrap(content), model)
    kept = {name: tensor.shape for name, tensor in state.items() if not layout.may_drop(name)}
    assert kept == {name: tensor.shape for name, tensor in model.state_dict().items()}


def test_the_vae_encoder_has_the_stated_tensors() -> None:
    with torch.device("meta"):
        model = LatentEncoder()
    state = model.state_dict()
    assert len([name for name in state if name.startswith("encoder.")]) == 106
    assert sum(p.numel() for p in model.encoder.parameters()) == 34_163_592
    assert sum(p.numel() for p in model.parameters()) == 34_163_664


def test_a_resnet50_has_318_entries(official_shapes: Callable[..., Shapes]) -> None:
    assert len(official_shapes("resnet50")) == len(on_meta("byol_rn50_deepmind").state_dict()) == 318

"""Official layouts, wrapped as the official files are, give the tokens of the official code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from extract import Backbone
from extract.weights import load_checkpoint

State = dict[str, torch.Tensor]
Golden = Mapping[str, Mapping[str, Any]]

SMALL_VIT = {"embed_dim": 96, "depth": 3, "num_heads": 4}
VIT = {"d": 96, "depth": 3}
JUNK = {"epoch": 300, "args": None, "optimizer": {"state": {}, "param_groups": []}}


def under(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


HEAD = {"mlp.0.weight": torch.ones(2, 2), "last_layer.weight_v": torch.ones(3, 2)}
NOISE = torch.full((3,), float("nan"))  # in a tensor that is dropped, it is nobody's concern

WRAPPED: dict[str, tuple[str, Mapping[str, Any], Callable[[State], object]]] = {
    "mae_vitb": ("vit", SMALL_VIT, lambda s: {"model": s}),
    "mae_vitb with its decoder": (
        "vit",
        SMALL_VIT,
        lambda s: {"model": {**s, "mask_token": NOISE, "decoder_pred.bias": NOISE}, **JUNK},
    ),
    "mae_vits": (
        "vit",
        SMALL_VIT,
        lambda s: {"model": {**under("module.model.", s), "module.ema_model.norm.bias": NOISE}, **JUNK},
    ),
    "dino_vitb": ("vit", SMALL_VIT, lambda s: s),
    "dino_vits": (
        "vit",
        SMALL_VIT,
        lambda s: {
            "student": under("module.backbone.", {k: v + 1 for k, v in s.items()}),
            "teacher": under("backbone.", s) | under("head.", HEAD),
            **JUNK,
        },
    ),
    "ibot_vitb": ("vit", SMALL_VIT, lambda s: {"state_dict": s}),
    "ibot_vitl": (
        "vit",
        SMALL_VIT,
        lambda s: {"teacher": under("backbone.", s) | under("head.", HEAD), "student": HEAD, **JUNK},
    ),
    "ibot_vits": (
        "vit",
        SMALL_VIT,
        lambda s: {
            "state_dict": under("module.backbone.", s | {"masked_embed": NOISE}) | under("head.", HEAD)
        },
    ),
    "mocov3_vitb": (
        "vit",
        SMALL_VIT,
        lambda s: {
            "state_dict": under("module.base_encoder.", s | under("head.", HEAD))
            | under("module.momentum_encoder.", {k: v + 1 for k, v in s.items()})
            | under("module.predictor.", HEAD),
            "arch": "vit_base",
            **JUNK,
        },
    ),
    "ijepa_vith": (
        "ijepa",
        SMALL_VIT,
        lambda s: {
            "target_encoder": under("module.", s),
            "encoder": under("module.", {k: v + 1 for k, v in s.items()}),
            "predictor": HEAD,
            **JUNK,
        },
    ),
    "beitv2_vitb": ("beitv2", SMALL_VIT, lambda s: {"model": s}),
    "simmim_vitb": (
        "beit",
        SMALL_VIT,
        lambda s: {
            "model": under("encoder.", s) | {"decoder.0.weight": NOISE, "decoder.0.bias": NOISE},
            "max_accuracy": 0.0,
            **JUNK,
        },
    ),
    "dinov2_vitb": ("dinov2", {**SMALL_VIT}, lambda s: s),
    "dinov2_vitl": (
        "dinov2",
        {**SMALL_VIT},
        lambda s: {"teacher": under("module.backbone.", s) | {"dino_head.a": NOISE, "ibot_head.a": NOISE}},
    ),
    "dinov2_vitb_reg": ("dinov2_reg", {**SMALL_VIT}, lambda s: s),
    "franca_vitl": (
        "franca",
        {**SMALL_VIT, "depth": 4, "mlp_ratio": 2 * 256 / 96},
        lambda s: {
            "teacher": under("module.backbone.", s)
            | {f"module.{head}_head.a": NOISE for head in ("dino", "ibot", "rasa")}
        },
    ),
    "dinov3_vitb": ("dinov3", {"embed_dim": 128, "depth": 3, "num_heads": 2}, lambda s: s),
    "clip_vitb": (
        "clip",
        {"embed_dim": 128, "depth": 3, "num_heads": 2},
        lambda s: (
            under("visual.", s)
            | {
                "logit_scale": torch.ones(()),
                "ln_final.bias": NOISE,
                "transformer.resblocks.0.ln_1.bias": NOISE,
            }
            | {"positional_embedding": NOISE, "input_resolution": torch.tensor(224)}
        ),
    ),
    "aimv2_vitl": (
        "aimv2",
        {"embed_dim": 128, "depth": 3, "num_heads": 2, "mlp_ratio": 352 / 128},
        lambda s: s,
    ),
    "capi_vitl": (
        "capi",
        {"dim": 128, "depth": 3, "num_heads": 4},
        lambda s: under("backbone.", s) | {"head.weight": NOISE},
    ),
}

SIZES: dict[str, tuple[str, Mapping[str, Any]]] = {
    "vit": ("vit", VIT),
    "ijepa": ("vit", {**VIT, "patch": 14, "grid": 16, "cls": False}),
    "beit": ("beit", {**VIT, "heads": 4}),
    "beitv2": ("beitv2", {**VIT, "heads": 4, "vocabulary": 16}),
    "dinov2": ("dinov2", VIT),
    "dinov2_reg": ("dinov2", {**VIT, "registers": 4}),
    "franca": ("dinov2", {"d": 96, "depth": 4, "swiglu": 256, "chunks": 4}),
    "dinov3": ("dinov3", {"d": 128, "depth": 3}),
    "clip": ("clip", {"d": 128, "depth": 3, "patch": 16, "out": 64}),
    "aimv2": ("aimv2", {"d": 128, "depth": 3, "hidden": 352}),
    "capi": ("capi", {"d": 128, "depth": 3, "decoder_depth": 2, "heads": 4}),
}
RECORDS = {"beitv2": "beit"}


@pytest.mark.parametrize("case", WRAPPED)
def test_tokens_are_those_of_the_official_code(
    case: str,
    official_state: Callable[..., State],
    opened: Callable[..., Backbone],
    all_tokens: Callable[..., dict[str, torch.Tensor]],
    golden: Golden,
    differs: Callable[..., bool],
) -> None:
    layout, arguments, wrap = WRAPPED[case]
    family, sizes = SIZES[layout]
    backbone = opened(case.partition(" ")[0], arguments, wrap(official_state(family, **sizes)))
    tokens, record = all_tokens(backbone), RECORDS.get(layout, layout)
    assert not differs(tokens["pre"], golden[record])
    assert not differs(tokens["post"], golden[f"{record}_post"])


def test_the_global_representation_of_capi_is_that_of_the_official_code(
    official_state: Callable[..., State],
    opened: Callable[..., Backbone],
    made_up: Callable[..., torch.Tensor],
) -> None:
    _, arguments, wrap = WRAPPED["capi_vitl"]
    backbone = opened("capi_vitl", arguments, wrap(official_state("capi", **SIZES["capi"][1])))
    with torch.inference_mode():
        found = backbone.model.global_representation(made_up("input", (2, 3, 224, 224)))
    assert torch.allclose(found[0, :4], torch.tensor([-1.38483, 0.65838, -0.50731, -0.44798]), atol=2e-4)


def test_the_projection_of_clip_is_left_out_and_fits_its_class_token(
    official_state: Callable[..., State],
    opened: Callable[..., Backbone],
    all_tokens: Callable[..., dict[str, torch.Tensor]],
) -> None:
    _, arguments, wrap = WRAPPED["clip_vitb"]
    state = official_state("clip", **SIZES["clip"][1])
    cls = all_tokens(opened("clip_vitb", arguments, wrap(state)))["post"][:, 0]
    projected = (cls @ state["proj"])[0, :4]
    assert torch.allclose(projected, torch.tensor([-0.32281, -0.42972, 0.99225, 3.63438]), atol=2e-4)


def test_byol_of_openmmlab_pads_as_torchvision(
    official_state: Callable[..., State],
    opened: Callable[..., Backbone],
    all_tokens: Callable[..., dict[str, torch.Tensor]],
    golden: Golden,
    differs: Callable[..., bool],
) -> None:
    others = {"neck.fc.weight": NOISE, "head.a": NOISE, "target_net.0.conv1.weight": NOISE}
    content = {"meta": {}, "state_dict": under("backbone.", official_state("resnet50")) | others}
    assert not differs(all_tokens(opened("byol_rn50", {}, content), side=64)["pre"], golden["resnet50"])


def test_byol_of_deepmind_pads_as_tensorflow(
    official_state: Callable[..., State],
    opened: Callable[..., Backbone],
    all_tokens: Callable[..., dict[str, torch.Tensor]],
    golden: Golden,
    differs: Callable[..., bool],
) -> None:
    content = dict(in_haiku(name, tensor) for name, tensor in official_state("resnet50").items())
    content["predictor/linear/w"] = NOISE
    content["res_net50/~/initial_batchnorm/~/mean_ema/hidden"] = NOISE
    content.pop("")  # batches are not counted there
    tokens = all_tokens(opened("byol_rn50_deepmind", {}, content), side=64)
    assert not differs(tokens["pre"], golden["resnet50_same"])


def in_haiku(name: str, tensor: torch.Tensor) -> tuple[str, torch.Tensor]:
    """A tensor of torchvision's under DeepMind's name and in its shape."""
    *modules, parameter = name.split(".")
    if parameter == "num_batches_tracked":
        return "", tensor
    path = "res_net50/~/"
    if modules[0].startswith("layer"):
        path += f"block_group_{int(modules[0][-1]) - 1}/~/block_{modules[1]}/~/"
    if "downsample" in modules:
        path += "shortcut_conv" if modules[-1] == "0" else "shortcut_batchnorm"
    else:
        kind = "conv" if modules[-1].startswith("conv") else "batchnorm"
        number = int(modules[-1][-1]) - 1
        path += f"{kind}_{number}" if "block" in path else f"initial_{kind}"
    if tensor.ndim == 4:
        return f"{path}/w", tensor.permute(2, 3, 1, 0)
    haiku = {"weight": "scale", "bias": "offset", "running_mean": "~/mean_ema/average"}
    return f"{path}/{haiku.get(parameter, '~/var_ema/average')}", tensor.view(1, 1, 1, -1)


@pytest.fixture
def narrow_vae(monkeypatch: pytest.MonkeyPatch) -> None:
    """A VAE of a few channels: the real one takes seconds on one core."""
    monkeypatch.setattr("extract.models.latents.WIDTHS", (32, 32, 32, 32))


@pytest.mark.parametrize(
    ("arguments", "block", "record"),
    [
        ({"timestep": 50}, 0, "dit_block0"),
        ({"timestep": 50}, 2, "dit_block2"),
        ({}, 2, "dit_block2_zero"),
    ],
)
@pytest.mark.usefixtures("narrow_vae")
def test_dit_on_latents_is_the_official_code(
    arguments: dict[str, int],
    block: int,
    record: str,
    official_state: Callable[..., State],
    made_up: Callable[..., torch.Tensor],
    golden: Golden,
    differs: Callable[..., bool],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from extract.models.dit import dit_xl2

    model = dit_xl2(dim=144, depth=3, num_heads=4, **arguments).eval()
    vae = {"decoder.conv_in.bias": NOISE, **model.vae.state_dict()}
    safetensors.torch.save_file(vae, tmp_path / "vae.safetensors")
    monkeypatch.setattr(
        "extract.checkpoints.dit.hf_hub_download", lambda *names: tmp_path / "vae.safetensors"
    )
    torch.save({"ema": official_state("dit", c=144, depth=3)}, tmp_path / "dit.pt")
    load_checkpoint(model, tmp_path / "dit.pt", "dit")
    with torch.inference_mode():
        (tokens,) = model.latent_states(made_up("latent", (2, 4, 32, 32)), [block])
    assert not differs(tokens, golden[record])

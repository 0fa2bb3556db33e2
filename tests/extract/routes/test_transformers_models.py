"""Encoders of transformers, made from a configuration and saved to a folder: the Hub is not at hand."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from configs import UserError
from extract import Backbone, open_backbone
from extract.open_backbone import open_architecture

SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
VISION = {**SIZES, "image_size": 64, "patch_size": 16}
REGISTERS = ("register",) * 4

# class of the configuration, its options, prefix roles, whether the tokens end in a norm
MODELS: dict[str, tuple[dict[str, Any], tuple[str, ...], bool]] = {
    "ViTConfig": (VISION, ("cls",), True),
    "DeiTConfig": (VISION, ("cls", "dist"), True),
    "Dinov2Config": (VISION, ("cls",), True),
    "Dinov2WithRegistersConfig": ({**VISION, "num_register_tokens": 4}, ("cls", *REGISTERS), True),
    "DINOv3ViTConfig": ({**VISION, "num_register_tokens": 4}, ("cls", *REGISTERS), True),
    "SiglipVisionConfig": (VISION, (), True),
    "CLIPVisionConfig": (VISION, ("cls",), False),
    "IJepaConfig": (VISION, (), True),
    "ResNetConfig": ({"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}, (), False),
}


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[str], str]:
    """(class of a configuration) → the folder of such a model, with random weights."""
    transformers = pytest.importorskip("transformers")

    def save(name: str) -> str:
        torch.manual_seed(0)
        model = transformers.AutoModel.from_config(getattr(transformers, name)(**MODELS[name][0]))
        for parameter in model.parameters():  # norms and tokens start at ones and zeros
            parameter.data += 0.05 * torch.randn_like(parameter)
        model.save_pretrained(tmp_path / name)
        return str(tmp_path / name)

    return save


@pytest.mark.parametrize("name", MODELS)
def test_tokens_and_norm_are_those_of_the_model(
    name: str, saved: Callable[[str], str], images: torch.Tensor, normed: Callable[..., torch.Tensor]
) -> None:
    import transformers

    folder = saved(name)
    backbone = open_backbone(f"hf:{folder}")
    reference = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        wanted = getattr(reference, "vision_model", reference)(pixel_values=images).last_hidden_state
    found = normed(backbone, images)
    if wanted.ndim == 4:
        wanted = wanted.flatten(2).mT
    assert (backbone.prefix_roles, backbone.final_norm is not None) == MODELS[name][1:]
    assert torch.allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("name", ["ViTConfig", "Dinov2WithRegistersConfig", "CLIPVisionConfig"])
def test_every_block_is_the_output_of_that_block(
    name: str, saved: Callable[[str], str], images: torch.Tensor
) -> None:
    backbone = open_backbone(f"hf:{saved(name)}")
    encoder = backbone.model.model
    layers = next(module for module in encoder.modules() if isinstance(module, torch.nn.ModuleList))
    seen: list[torch.Tensor] = []
    for layer in layers:
        layer.register_forward_hook(
            lambda module, inputs, output: seen.append(output[0] if isinstance(output, tuple) else output)
        )
    tokens = backbone.read(images, range(3))
    assert len(seen) == 3
    for state, block in zip(seen, tokens, strict=True):
        assert torch.equal(block.patches, state[:, len(backbone.prefix_roles) :])


def test_two_towers_give_the_one_for_images(
    tmp_path: Path, images: torch.Tensor, normed: Callable[..., torch.Tensor]
) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.CLIPConfig(vision_config=VISION, text_config=SIZES, projection_dim=16)
    model = transformers.AutoModel.from_config(config).eval()
    model.save_pretrained(tmp_path / "clip")
    found = normed(open_backbone(f"hf:{tmp_path / 'clip'}"), images)
    with torch.inference_mode():
        assert torch.allclose(found, model.vision_model(images).last_hidden_state, atol=1e-5)


@pytest.mark.parametrize(
    ("processor", "wanted"),
    [
        (
            {
                "size": {"height": 64, "width": 64}, "resample": 2, "image_mean": [0.5] * 3,
                "image_std": [0.5] * 3,
            },
            {"input_size": [3, 64, 64], "crop_mode": "squash", "interpolation": "bilinear", "crop_pct": 1.0},
        ),
        (
            {
                "size": {"shortest_edge": 128}, "crop_size": {"height": 64, "width": 64},
                "do_center_crop": True, "do_resize": True, "resample": 3,
                "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6],
            },
            {"input_size": [3, 64, 64], "crop_pct": 0.5, "interpolation": "bicubic", "mean": [0.1, 0.2, 0.3]},
        ),
    ],
)  # fmt: skip
def test_the_transform_is_that_of_the_image_processor(
    processor: dict[str, Any], wanted: dict[str, Any], saved: Callable[[str], str]
) -> None:
    import transformers

    folder = saved("ViTConfig")
    kind = transformers.BitImageProcessor if "crop_size" in processor else transformers.ViTImageProcessor
    kind(**processor).save_pretrained(folder)
    transform = open_backbone(f"hf:{folder}").transform
    assert {name: transform[name] for name in wanted} == wanted


def test_the_geometry_is_known_without_weights(saved: Callable[[str], str]) -> None:
    folder = saved("Dinov2WithRegistersConfig")
    geometry = open_architecture(f"hf:{folder}").geometry
    assert (geometry.blocks, geometry.prefix) == (open_backbone(f"hf:{folder}").blocks, ("cls", *REGISTERS))


def test_random_weights_are_not_those_of_the_folder(saved: Callable[[str], str]) -> None:
    folder = saved("ViTConfig")
    stored, made_up = open_backbone(f"hf:{folder}"), open_backbone(f"hf:{folder}", weights="none")
    assert stored.blocks == made_up.blocks
    assert stored.identity().weights_sha256 != made_up.identity().weights_sha256


def test_a_model_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(UserError, match="cannot open hf:") as refused:
        open_backbone(f"hf:{tmp_path}")
    assert "\n" not in str(refused.value)


def test_a_model_of_text_is_refused(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    transformers.AutoModel.from_config(transformers.BertConfig(**SIZES)).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="takes no images"):
        open_backbone(f"hf:{tmp_path}")


def test_an_encoder_that_shuffles_patches_is_refused(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    transformers.AutoModel.from_config(transformers.ViTMAEConfig(**VISION)).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="leaves out and shuffles patches; give mae_vitb"):
        open_backbone(f"hf:{tmp_path}")


def test_prefix_tokens_that_are_not_known_are_no_patches(
    saved: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extract.routes.transformers_models._prefix_roles", lambda model: ())
    with pytest.raises(
        UserError, match="gives 17 tokens for 16 patches, and its prefix tokens are not known"
    ):
        open_backbone(f"hf:{saved('ViTConfig')}")


def test_without_transformers_the_command_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        UserError, match=r"hf:a/b needs transformers: pip install 'frozen-tokens\[transformers\]'"
    ):
        open_backbone("hf:a/b")


def test_a_name_with_an_owner_is_a_folder_in_the_cache(saved: Callable[[str], str]) -> None:
    backbone: Backbone = open_backbone(f"hf:{saved('ViTConfig')}")
    assert "/" not in backbone.name

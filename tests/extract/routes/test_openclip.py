from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from configs import UserError
from extract import open_backbone
from extract.open_backbone import open_architecture

TEXT = {"context_length": 8, "vocab_size": 32, "width": 16, "heads": 2, "layers": 1}
OWN = {"image_size": 64, "layers": 3, "width": 32, "head_width": 16, "patch_size": 16}
TIMM = {
    "image_size": 160, "timm_model_name": "test_vit", "timm_model_pretrained": False, "timm_pool": "",
    "timm_proj": "linear",
}  # fmt: skip


@pytest.fixture
def towers(tmp_path: Path) -> Iterator[None]:
    """Two small models: OpenCLIP's own vision transformer, and one of timm."""
    import json

    open_clip = pytest.importorskip("open_clip")
    for name, vision in (("small-own", OWN), ("small-timm", TIMM)):
        config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": TEXT}
        (tmp_path / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path)
    yield
    for name in ("small-own", "small-timm"):
        open_clip.factory._MODEL_CONFIGS.pop(name)
        open_clip.factory._MODEL_CONFIG_PATHS[:] = [
            path for path in open_clip.factory._MODEL_CONFIG_PATHS if path != tmp_path
        ]


@pytest.mark.usefixtures("towers")
def test_tokens_are_those_of_the_image_tower(
    images: torch.Tensor, normed: Callable[..., torch.Tensor]
) -> None:
    backbone = open_backbone("openclip:small-own", weights="none")
    tower = backbone.model.visual
    tower.output_tokens = True
    with torch.inference_mode():
        pooled, patches = tower(images)
        found = normed(backbone, images)
    assert backbone.prefix_roles == ("cls",)
    assert torch.allclose(found[:, 1:], patches, atol=1e-5)
    assert torch.allclose(found[:, 0] @ tower.proj, pooled, atol=1e-5)


@pytest.mark.usefixtures("towers")
def test_every_block_is_the_output_of_that_block(images: torch.Tensor) -> None:
    backbone = open_backbone("openclip:small-own", weights="none")
    seen: list[torch.Tensor] = []
    for block in backbone.model.visual.transformer.resblocks:
        block.register_forward_hook(lambda module, inputs, output: seen.append(output))
    tokens = backbone.read(images, range(3))
    for state, found in zip(seen, tokens, strict=True):
        assert torch.equal(found.patches, state[:, 1:])


@pytest.mark.usefixtures("towers")
def test_a_tower_of_timm_is_read_as_timms_own() -> None:
    backbone = open_backbone("openclip:small-timm", weights="none")
    assert type(backbone.model).__module__.startswith("timm.")
    assert backbone.transform["input_size"] == [3, 160, 160]


@pytest.mark.usefixtures("towers")
def test_the_transform_is_that_of_the_model() -> None:
    transform = open_backbone("openclip:small-own", weights="none").transform
    assert (transform["input_size"], transform["crop_pct"]) == ([3, 64, 64], 1.0)
    assert transform["mean"] == pytest.approx([0.48145466, 0.4578275, 0.40821073])


def test_weights_trained_with_quickgelu_are_not_run_with_gelu() -> None:
    pytest.importorskip("open_clip")
    with pytest.raises(UserError, match=r"with QuickGELU.*give openclip:ViT-B-16-quickgelu/openai"):
        open_backbone("openclip:ViT-B-16/openai")


@pytest.mark.usefixtures("towers")
def test_the_geometry_is_known_without_weights() -> None:
    geometry = open_architecture("openclip:small-own/none").geometry
    assert (geometry.blocks[-1].grid, geometry.blocks[-1].dim, geometry.prefix) == ((4, 4), 32, ("cls",))


def test_unknown_names_get_the_nearest_ones() -> None:
    pytest.importorskip("open_clip")
    with pytest.raises(UserError, match=r"unknown OpenCLIP model 'ViT-B-61'; did you mean"):
        open_backbone("openclip:ViT-B-61/openai")
    with pytest.raises(UserError, match="unknown pre-training tag of ViT-B-16"):
        open_backbone("openclip:ViT-B-16/openia")


def test_without_openclip_the_command_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(UserError, match=r"needs open_clip: pip install 'frozen-tokens\[openclip\]'"):
        open_backbone("openclip:ViT-B-16/openai")

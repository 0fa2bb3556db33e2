from __future__ import annotations

import pytest
import timm
import torch

from configs import UserError
from extract import Backbone, open_backbone
from extract.backbone import BlockTokens

# a plain ViT, registers and RoPE, a distilled one, no [CLS], stages of windows, convolutions, no final norm
MODELS = [
    "test_vit",
    "test_vit3",
    "vit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "vit_small_patch16_dinov3",
    "mixer_s32_224",
    "swin_tiny_patch4_window7_224",
    "convnext_atto",
    "resnet18",
    "eva02_tiny_patch14_224",
]


def _images(backbone: Backbone, count: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    shape = (count, *backbone.transform["input_size"])
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def _patches(features: torch.Tensor, wanted: torch.Size) -> torch.Tensor:
    """timm's own forward_features as (B, N, D) patch tokens."""
    if features.ndim == 4 and features.shape[-1] == wanted[-1]:
        features = features.flatten(1, 2)
    elif features.ndim == 4:
        features = features.flatten(2).mT
    return features[:, -wanted[1] :]


@pytest.mark.parametrize("name", MODELS)
def test_tokens_and_final_norm_are_those_of_timm(name: str) -> None:
    backbone = open_backbone(f"timm:{name}", weights="none")
    images = _images(backbone)
    last = len(backbone.blocks) - 1
    tokens = backbone(images, [last])[last]
    assert tokens.patches.shape == (2, backbone.blocks[last].num_tokens, backbone.blocks[last].dim)
    normed = backbone.final_norm(tokens.patches) if backbone.final_norm else tokens.patches
    with torch.inference_mode():
        features = backbone.model.forward_features(backbone.normalize(images))
    assert torch.allclose(normed, _patches(features, normed.shape), atol=1e-4)


def test_every_block_is_the_output_of_that_block() -> None:
    backbone = open_backbone("timm:vit_tiny_patch16_224", weights="none")
    seen: list[torch.Tensor] = []
    for block in backbone.model.blocks:
        block.register_forward_hook(lambda module, inputs, output: seen.append(output))
    tokens = backbone(_images(backbone), range(12))
    for number, output in enumerate(seen):
        assert torch.equal(tokens[number].patches, output[:, 1:])
        prefix = tokens[number].prefix
        assert prefix is not None
        assert torch.equal(prefix, output[:, :1])


@pytest.mark.parametrize(
    ("name", "roles"),
    [
        ("vit_tiny_patch16_224", ("cls",)),
        ("deit_tiny_distilled_patch16_224", ("cls", "dist")),
        ("vit_small_patch16_dinov3", ("cls", *["register"] * 4)),
        ("mixer_s32_224", ()),
    ],
)
def test_prefix_tokens_have_their_roles(name: str, roles: tuple[str, ...]) -> None:
    assert open_backbone(f"timm:{name}", weights="none").prefix_roles == roles


def test_the_backbone_is_frozen_and_in_eval_mode() -> None:
    backbone = open_backbone("timm:resnet18", weights="none")
    assert not backbone.model.training
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    before = backbone.model.bn1.running_mean.clone()
    backbone(_images(backbone), [0])
    assert torch.equal(backbone.model.bn1.running_mean, before)


def test_random_weights_are_the_same_every_time() -> None:
    hashes = {open_backbone("timm:test_vit", weights="none").identity().weights_sha256 for _ in range(2)}
    assert len(hashes) == 1


def test_mixed_precision_is_part_of_the_identity() -> None:
    plain = open_backbone("timm:test_vit", weights="none").identity()
    mixed = open_backbone("timm:test_vit", weights="none", amp="bfloat16").identity()
    assert (plain.precision, mixed.precision) == ("float32", "bfloat16 autocast")


def test_mixed_precision_stays_near_float32() -> None:
    plain, mixed = (open_backbone("timm:test_vit", weights="none", amp=a) for a in ("none", "bfloat16"))
    last = len(plain.blocks) - 1
    found: list[BlockTokens] = [b(_images(b), [last])[last] for b in (plain, mixed)]
    error = (found[0].patches - found[1].patches.float()).abs().mean()
    assert 0 < float(error / found[0].patches.abs().mean()) < 0.02


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mae_digit", r"unknown backbone 'mae_digit'; did you mean mae_digits"),
        ("timm:vit_tinny_patch16_224", r"unknown timm model .*did you mean vit_tiny_patch16_224"),
        ("timm:vit_tiny_patch16_224.augrog_in21k", r"unknown pre-training tag .*augreg_in21k"),
    ],
)
def test_an_unknown_name_gets_the_nearest_ones(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_backbone(name, weights="none")


def test_weights_that_cannot_be_downloaded_get_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("no route to the hub\nsecond line")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(UserError, match="no route to the hub; give --weights FILE, or none"):
        open_backbone("mae_vitb")

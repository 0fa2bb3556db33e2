"""What the shipped names say of themselves is true, and tokens are what the blocks of a model give."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
import torch

from configs import load_backbone, names
from extract.backbone_table import backbone_row, show_backbones
from extract.open_backbone import build_backbone, open_architecture

# the rows of the published table (LP and EP32 of 19 backbones)
PUBLISHED = {
    "mae_vits", "mae_vitb", "mae_vitl", "beitv2_vitb", "simmim_vitb", "capi_vitl", "byol_rn50", "dino_vitb",
    "ibot_vitb", "dinov2_vitb", "dinov2_vitl", "franca_vitl", "dinov3_vitb", "dinov3_vitl", "clip_vitl",
    "siglip_vitl", "siglip2_vitl", "dit_xl", "aimv2_vitl",
}  # fmt: skip

# patch tokens, prefix, width, blocks, side in pixels
GEOMETRY = """\
mae_vits,196,cls,384,12,224
mae_vitb,196,cls,768,12,224
mae_vitl,196,cls,1024,24,224
mae_vith,256,cls,1280,32,224
beitv2_vitb,196,cls,768,12,224
simmim_vitb,196,cls,768,12,224
capi_vitl,256,16 r,1024,24,224
byol_rn50,49,none,2048,5,224
byol_rn50_deepmind,49,none,2048,5,224
dino_vits,196,cls,384,12,224
dino_vitb,196,cls,768,12,224
ibot_vitb,196,cls,768,12,224
ibot_vitl,196,cls,1024,24,224
dinov2_vits,256,cls,384,12,224
dinov2_vitb,256,cls,768,12,224
dinov2_vitl,256,cls,1024,24,224
dinov2_vitg,256,cls,1536,40,224
dinov2_vitl_reg,256,cls + 4 r,1024,24,224
franca_vitl,256,cls,1024,24,224
dinov3_vitb,196,cls + 4 r,768,12,224
dinov3_vitl,196,cls + 4 r,1024,24,224
clip_vitb,196,cls,768,12,224
clip_vitl,256,cls,1024,24,224
siglip_vitl,256,none,1024,24,256
siglip2_vitl,256,none,1024,24,256
dit_xl,256,none,1152,28,256
aimv2_vitl,256,none,1024,24,224
ijepa_vith,256,none,1280,32,224
eva02_vitl,256,cls,1024,24,224
pe_core_vitl,576,cls,1024,24,336
hiera_vitb,49,none,768,4,224
hiera_vith,49,none,2048,4,224
radio_vitl,196,cls + 7 r,1024,24,224
"""

NORMS = {
    "mae_vitb": "LayerNorm 1e-06", "dinov2_vitb": "LayerNorm 1e-06", "dinov3_vitb": "LayerNorm 1e-05",
    "clip_vitl": "LayerNorm 1e-05", "siglip_vitl": "LayerNorm 1e-06", "aimv2_vitl": "RmsNorm 1e-05",
    "capi_vitl": "RMSNorm 1e-05", "eva02_vitl": None, "hiera_vitb": None, "radio_vitl": None, "dit_xl": None,
    "byol_rn50": None, "pe_core_vitl": "LayerNorm 1e-05", "beitv2_vitb": "LayerNorm 1e-06",
}  # fmt: skip


def test_every_published_row_has_a_name() -> None:
    assert set(names("backbones")) >= PUBLISHED


@pytest.mark.parametrize("row", list(csv.reader(io.StringIO(GEOMETRY))), ids=lambda row: row[0])
def test_what_a_backbone_gives_is_what_is_published_of_it(row: list[str]) -> None:
    name, tokens, prefix, dim, blocks, side = row
    found = backbone_row(load_backbone(name))
    assert found[1].split()[0] == tokens
    assert (*found[2:5], found[7].split()[0]) == (prefix, dim, blocks, side)


@pytest.mark.parametrize(("name", "norm"), NORMS.items())
def test_final_norms_are_of_the_published_kind(name: str, norm: str | None) -> None:
    assert open_architecture(name).final_norm == norm


def test_published_probes_of_backbones_without_a_norm_read_the_tokens_as_they_are() -> None:
    without = [name for name, norm in NORMS.items() if norm is None]
    assert {load_backbone(name).tokens for name in without} == {"pre"}


@pytest.mark.parametrize("name", [n for n in names("backbones") if load_backbone(n).weights == "hub"])
def test_a_backbone_of_the_hub_names_its_pre_training(name: str) -> None:
    source = load_backbone(name).source
    assert source.startswith("timm:")
    assert "." in source  # without its tag timm takes another pre-training


@pytest.mark.parametrize("name", [n for n in names("backbones") if load_backbone(n).weights == "file"])
def test_a_backbone_without_an_address_says_where_its_weights_are(name: str) -> None:
    from configs import UserError

    with pytest.raises(
        UserError, match=f"{name} has no weights to download: give --weights FILE; "
    ) as refused:
        build_backbone(load_backbone(name))
    assert "\n" not in str(refused.value)


SMALL: dict[str, dict[str, Any]] = {
    "mae_vitb": {"embed_dim": 32, "depth": 3, "num_heads": 2},
    "beitv2_vitb": {"embed_dim": 32, "depth": 3, "num_heads": 2},
    "dinov2_vitb_reg": {"embed_dim": 32, "depth": 3, "num_heads": 2},
    "dinov3_vitb": {"embed_dim": 128, "depth": 3, "num_heads": 2},
    "clip_vitb": {"embed_dim": 32, "depth": 3, "num_heads": 2},
    "siglip_vitb": {"embed_dim": 32, "depth": 3, "num_heads": 2},
    "aimv2_vitl": {"embed_dim": 32, "depth": 3, "num_heads": 2},
    "ijepa_vith": {"embed_dim": 32, "depth": 3, "num_heads": 2},
    "eva02_vitl": {"embed_dim": 64, "depth": 3, "num_heads": 2},
    "pe_core_vitl": {"embed_dim": 64, "depth": 3, "num_heads": 2},
    "radio_vitl": {"embed_dim": 32, "depth": 3, "num_heads": 2},
}


@pytest.mark.parametrize("name", SMALL)
def test_the_tokens_of_every_block_are_what_that_block_gives(name: str) -> None:
    config = load_backbone(name)
    arguments = {**config.arguments, **SMALL[name]}
    backbone = build_backbone(config.model_copy(update={"arguments": arguments}), weights="none")
    seen: list[torch.Tensor] = []
    for block in backbone.model.blocks:
        block.register_forward_hook(lambda module, inputs, output: seen.append(output))
    images = torch.rand(1, *backbone.transform["input_size"])
    tokens = backbone.read(images, range(3))
    prefix = len(backbone.prefix_roles)
    for state, found in zip(seen, tokens, strict=True):
        assert torch.equal(found.patches, state[:, prefix:])
        assert (found.prefix is None) == (prefix == 0)
        assert found.prefix is None or torch.equal(found.prefix, state[:, :prefix])


def test_the_list_shows_names_and_says_what_is_not_proven(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = ["mae_vits", "mae_digits", "dinov3_vitb"]
    monkeypatch.setattr("extract.backbone_table.names", lambda kind: shown)
    show_backbones()
    printed = capsys.readouterr().out
    rows = {line.split()[0]: line for line in printed.splitlines() if line.strip()}
    assert set(shown) <= rows.keys()
    assert "64 (8×8)" in rows["mae_digits"]
    assert "DINOv3 License*" in rows["dinov3_vitb"]
    assert "There are no official weights of MAE ViT-S." in printed


def test_list_needs_no_other_option(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from extract.command import main

    monkeypatch.setattr("sys.argv", ["extract", "--list"])
    monkeypatch.setattr("extract.backbone_table.names", lambda kind: ["mae_digits"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert "mae_digits" in capsys.readouterr().out

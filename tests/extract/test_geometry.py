"""What a plan takes for granted is what the model gives and extraction stores."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import get_args

import pytest
import torch

from cache import RECORD_ARRAYS, TokenDtype
from extract import ExtractOptions, open_backbone, plan_split
from extract.geometry import Geometry, measure_geometry
from extract.open_backbone import open_architecture
from extract.sources import open_dataset

# [CLS]; registers; two prefix tokens; none; stages of windows, of convolutions; a norm of another kind
MODELS = [
    "mae_digits",
    "timm:vit_small_patch16_dinov3",
    "timm:deit_tiny_distilled_patch16_224",
    "timm:mixer_s32_224",
    "timm:swin_tiny_patch4_window7_224",
    "timm:resnet18",
    "timm:eva02_tiny_patch14_224",
]


@pytest.mark.parametrize("spec", MODELS)
def test_an_architecture_without_weights_stores_the_arrays_of_the_real_one(spec: str) -> None:
    architecture = open_architecture(spec)
    backbone = open_backbone(spec, weights="none")
    assert architecture.geometry == Geometry(
        backbone.blocks, backbone.prefix_roles, backbone.final_norm is not None
    )
    assert (architecture.name, architecture.source) == (backbone.name, backbone.source)
    assert architecture.transform == backbone.transform
    dataset = open_dataset("digits")
    blocks = tuple(range(len(backbone.blocks)))
    for dtype in get_args(TokenDtype):
        options = ExtractOptions(backbone=spec, dataset="digits", dtype=dtype)
        plan = plan_split(
            backbone, dataset, "test", dataset.open("test"), store=Path(), blocks=blocks, options=options
        )
        arrays = [array for block in blocks for array in architecture.geometry.block_arrays(block, dtype)]
        assert plan.manifest.arrays == (*arrays, *RECORD_ARRAYS)


def test_an_architecture_takes_up_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.device] = []

    def measured(model: torch.nn.Module, image: torch.Tensor) -> Geometry:
        seen.extend(tensor.device for tensor in (image, *model.parameters()))
        return measure_geometry(model, image)

    monkeypatch.setattr(sys.modules["extract.open_backbone"], "measure_geometry", measured)
    geometry = open_architecture("mae_vitl").geometry
    assert {device.type for device in seen} == {"meta"}
    assert len(geometry.blocks) == 24
    assert (geometry.blocks[23].grid, geometry.blocks[23].dim) == ((14, 14), 1024)


def test_a_model_that_looks_at_values_is_built_for_real(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(model: torch.nn.Module, image: torch.Tensor) -> Geometry:
        image.sum().item()  # `meta` tensors raise
        return measure_geometry(model, image)

    monkeypatch.setattr(sys.modules["extract.open_backbone"], "measure_geometry", measured)
    assert len(open_architecture("timm:test_vit").geometry.blocks) == 6

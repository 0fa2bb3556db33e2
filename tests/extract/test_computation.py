"""`--channels-last` and `--compile`: the same tokens but for rounding, recorded, and held to."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cache import Computation, Store
from configs import UserError
from extract.backbone import Backbone
from extract.command import extract
from extract.computation import require_compiler
from extract.open_backbone import open_backbone
from extract.options import ExtractOptions
from extract.repair_command import RepairOptions, repair

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler, g++")

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def resnet() -> Backbone:
    return open_backbone("timm:test_resnet", weights="none")


@pytest.fixture
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, 3, 160, 160), dtype=torch.uint8, generator=generator)


@pytest.fixture
def compiled_shapes(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """Stands for the compiler. Gives the shapes that what it made was called with."""
    shapes = []

    def compiling(function: Callable[..., Any], *, dynamic: bool) -> Callable[..., Any]:
        def called(images: torch.Tensor, blocks: Any) -> Any:
            shapes.append(images.shape)
            return function(images, blocks)

        return called

    monkeypatch.setattr(torch, "compile", compiling)
    return shapes


def test_channels_last_gives_the_same_tokens_but_for_rounding(resnet: Backbone, images: torch.Tensor) -> None:
    plain = resnet(images, [3])[3].patches
    resnet.compute_as(Computation(batch_size=4, channels_last=True))
    kernels = [p for p in resnet.model.parameters() if p.dim() == 4 and p.shape[1] > 1 and p.shape[2] > 1]
    assert kernels
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
    torch.testing.assert_close(resnet(images, [3])[3].patches, plain, rtol=1e-4, atol=1e-4)
    resnet.compute_as(Computation(batch_size=4))
    assert torch.equal(resnet(images, [3])[3].patches, plain)


def test_what_is_compiled_sees_one_size_of_batches_only(compiled_shapes: list[torch.Size]) -> None:
    backbone = open_backbone("mae_digits")
    size = tuple(backbone.transform["input_size"])
    images = torch.randint(0, 256, (5, *size), dtype=torch.uint8)
    plain = backbone(images, [2, 5])
    backbone.compute_as(Computation(batch_size=8, compiled=True))
    for count in (5, 1):
        found = backbone(images[:count], [2, 5])
        for block, tokens in found.items():
            torch.testing.assert_close(tokens.patches, plain[block].patches[:count], rtol=1e-4, atol=1e-4)
            assert tokens.prefix is not None
            assert len(tokens.prefix) == count
    assert compiled_shapes == [torch.Size([8, *size])] * 2


@needs_compiler
@pytest.mark.slow
def test_compiled_tokens_are_those_of_the_model_but_for_rounding() -> None:
    require_compiler(CPU)
    backbone = open_backbone("timm:test_vit", weights="none")
    images = torch.randint(0, 256, (3, 3, 160, 160), dtype=torch.uint8)
    plain = backbone(images, [5])[5].patches
    backbone.compute_as(Computation(batch_size=4, compiled=True, channels_last=True))
    with torch.compiler.set_stance("default"):
        torch.testing.assert_close(backbone(images, [5])[5].patches, plain, rtol=1e-3, atol=1e-3)
    with torch.compiler.set_stance("fail_on_recompile"):
        assert len(backbone(images[:1], [5])[5].patches) == 1


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_missing_compiler_is_one_line(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(UserError, match=r"--compile needs a compiler \(.+\), and there is none: install it"):
        require_compiler(torch.device(device))


def _extract(store: Path, **changes: object) -> None:
    settings = {
        "backbone": "mae_digits",
        "dataset": "digits",
        "split": "train",
        "limit": 20,
        "shard_size": 16,
    }
    extract(ExtractOptions(**{**settings, "workers": 0, "batch_size": 8, "out": store, **changes}))


@needs_compiler
def test_both_are_recorded_held_to_and_repaired(tmp_path: Path, compiled_shapes: list[torch.Size]) -> None:
    store = tmp_path / "store"
    _extract(store, channels_last=True, compile=True)
    assert Store(store).split("digits", "train").manifest.computation == Computation(
        batch_size=8, channels_last=True, compiled=True
    )
    with pytest.raises(UserError, match=r"computation\.channels_last \(True there, False here\)"):
        _extract(store, compile=True)
    damaged = store / "digits/train/block5/patches/c/0/0/0/0"
    whole = damaged.read_bytes()
    damaged.write_bytes(bytes(100) + whole[100:])
    compiled_shapes.clear()
    repair(RepairOptions(path=store, backbone="mae_digits", dataset="digits", workers=0))
    assert damaged.read_bytes() == whole
    assert len(set(compiled_shapes)) == 1


@pytest.mark.parametrize(
    "option", [{"compile": True}, {"channels_last": True}, {"resize": "torch"}, {"decode_scale": 2}]
)
def test_a_plan_does_not_pretend_to_measure_them(option: dict[str, object]) -> None:
    with pytest.raises(UserError, match="--plan measures extraction without"):
        ExtractOptions(backbone="mae_digits", dataset="digits", plan=True, **option)

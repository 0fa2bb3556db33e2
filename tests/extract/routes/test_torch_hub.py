from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from configs import UserError
from extract import open_backbone

# DINOv2's interface around timm's small ViT
HUBCONF = """
import timm, torch

class Official(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.vit = timm.create_model("test_vit", img_size=64, num_classes=0)
        self.blocks, self.norm = self.vit.blocks, self.vit.norm
        self.pretrained_cfg = {"input_size": (3, 64, 64)}

    def get_intermediate_layers(self, x, n=1, reshape=False, return_class_token=False, norm=True):
        pairs = self.vit.forward_intermediates(
            x, n, norm=norm, return_prefix_tokens=True, output_fmt="NLC", intermediates_only=True
        )
        return tuple((patches, prefix[:, 0]) for patches, prefix in pairs)

class WithRegisters(Official):
    n_storage_tokens = 2
    def get_intermediate_layers(
        self, x, n=1, reshape=False, return_class_token=False, norm=True, return_extra_tokens=False
    ):
        found = super().get_intermediate_layers(x, n, norm=norm)
        extra = lambda patches: (patches[:, :2] + 1,) if return_extra_tokens else ()
        return tuple((patches, cls, *extra(patches)) for patches, cls in found)

def official(pretrained=True):
    torch.manual_seed(7 if pretrained else 8)
    return Official()

def registers(pretrained=True):
    return WithRegisters()

def timms(pretrained=True):
    return timm.create_model("test_vit", num_classes=0)

def plain(pretrained=True):
    return torch.nn.Linear(3, 3)

def broken(pretrained=True):
    raise RuntimeError("no route to the weights\\nsecond line")
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A folder that torch.hub reads as a repository."""
    (tmp_path / "hubconf.py").write_text(HUBCONF)
    return tmp_path


def test_intermediate_layers_are_tokens(
    repository: Path, images: torch.Tensor, normed: Callable[..., torch.Tensor]
) -> None:
    backbone = open_backbone(f"torchhub:{repository}/official")
    found = normed(backbone, images)
    with torch.inference_mode():
        wanted = backbone.model.model.vit.forward_features(images)
    assert backbone.prefix_roles == ("cls",)
    assert backbone.final_norm is not None
    assert torch.allclose(found, wanted, atol=1e-5)


def test_a_norm_is_found_though_registers_lie_between(repository: Path, images: torch.Tensor) -> None:
    backbone = open_backbone(f"torchhub:{repository}/registers")
    (tokens,) = backbone.read(images, [0])
    assert backbone.prefix_roles == ("cls", "register", "register")
    assert tokens.prefix is not None
    assert torch.equal(tokens.prefix[:, 1:], tokens.patches[:, :2] + 1)
    assert backbone.final_norm is not None


def test_an_entry_of_timms_interface_is_read_as_it_is(repository: Path) -> None:
    assert len(open_backbone(f"torchhub:{repository}/timms").blocks) == 6


def test_without_weights_the_entry_is_told_so(repository: Path) -> None:
    with_weights, without = (
        open_backbone(f"torchhub:{repository}/official", weights=weights) for weights in (None, "none")
    )
    assert with_weights.identity().weights_sha256 != without.identity().weights_sha256


def test_a_model_that_gives_no_tokens_is_refused(repository: Path) -> None:
    with pytest.raises(UserError, match=r"gives neither forward_intermediates.*nor get_intermediate_layers"):
        open_backbone(f"torchhub:{repository}/plain")


def test_what_an_entry_raises_is_one_line(repository: Path) -> None:
    with pytest.raises(UserError, match=r"cannot open torchhub:.*broken: no route to the weights$"):
        open_backbone(f"torchhub:{repository}/broken")


def test_a_name_without_an_entry_is_refused() -> None:
    with pytest.raises(UserError, match="give torchhub:OWNER/REPO/ENTRY"):
        open_backbone("torchhub:dinov2")

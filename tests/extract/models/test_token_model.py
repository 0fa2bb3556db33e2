from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from configs import TransformConfig
from extract import Backbone
from extract.models.token_model import TokenModel
from extract.transform import transform_settings


class Patches(TokenModel):
    """Means of patches of 8 × 8 pixels, behind a [CLS] and a register; block n adds n."""

    prefix_roles = ("cls", "register")

    def __init__(self, side: tuple[int, int] = (32, 16)) -> None:
        super().__init__(3, {"input_size": (3, *side), "crop_pct": 1.0})
        self.norm = nn.LayerNorm(3)

    def block_states(self, images: torch.Tensor, blocks: Sequence[int]) -> list[torch.Tensor]:
        patches = nn.functional.avg_pool2d(images, 8).flatten(2).mT
        first = torch.cat([torch.full_like(patches[:, :2], 5), patches], dim=1)
        return [first + block for block in blocks]


class Maps(Patches):
    """The same as maps, without prefix."""

    prefix_roles = ()

    def __init__(self) -> None:
        super().__init__()
        self.norm = None

    def block_states(self, images: torch.Tensor, blocks: Sequence[int]) -> list[torch.Tensor]:
        return [nn.functional.avg_pool2d(images, 8) + block for block in blocks]


def backbone(model: TokenModel) -> Backbone:
    """As extraction reads it."""
    return Backbone(model, name="own", source="own", transform=transform_settings(model, TransformConfig()))


@pytest.mark.parametrize("kind", [Patches, Maps])
def test_blocks_have_their_grid_and_width(kind: type[TokenModel]) -> None:
    assert [(block.grid, block.dim) for block in backbone(kind()).blocks] == [((4, 2), 3)] * 3


def test_prefix_tokens_come_apart_from_the_patches() -> None:
    own = backbone(Patches())
    (tokens,) = own.read(torch.zeros(2, 3, 32, 16), [1])
    assert own.prefix_roles == ("cls", "register")
    assert tokens.prefix is not None
    assert torch.equal(tokens.prefix, torch.full((2, 2, 3), 6.0))
    assert torch.equal(tokens.patches, torch.ones(2, 8, 3))


def test_maps_are_tokens_row_by_row() -> None:
    images = torch.rand(1, 3, 32, 16)
    (tokens,) = backbone(Maps()).read(images, [0])
    assert tokens.prefix is None
    assert torch.allclose(tokens.patches[0, 3], images[0, :, 8:16, 8:16].mean((1, 2)))


def test_the_norm_is_found_by_what_the_model_gives() -> None:
    found = backbone(Patches()).final_norm
    assert found is not None
    assert found.kind == "layer_norm"


def test_tokens_that_form_no_rectangle_are_a_line() -> None:
    class Odd(Patches):
        def block_states(self, images: torch.Tensor, blocks: Sequence[int]) -> list[torch.Tensor]:
            return [state[:, :-1] for state in super().block_states(images, blocks)]

    assert backbone(Odd()).blocks[0].grid == (7,)

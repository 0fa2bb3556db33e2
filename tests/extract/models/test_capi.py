from __future__ import annotations

import pytest
import torch

from extract.models.capi import Capi, capi_vitl14


@pytest.fixture
def model() -> Capi:
    torch.manual_seed(0)
    return capi_vitl14(dim=64, depth=2, num_heads=2, image_size=56).eval()


@torch.inference_mode()
def test_an_image_need_not_be_square(model: Capi) -> None:
    (last,) = model.block_states(torch.rand(1, 3, 42, 70), [1])
    assert last.shape == (1, 16 + 3 * 5, 64)


@torch.inference_mode()
def test_positions_matter(model: Capi) -> None:
    image = torch.rand(1, 3, 56, 56)
    tokens, moved = (model.block_states(x, [0])[0][0, 16:] for x in (image, image.flip(2)))
    patches = model.patch_embed(torch.cat([image, image.flip(2)]))
    assert tokens.shape == moved.shape == (16, 64)
    assert not torch.allclose(tokens.view(4, 4, 64).flip(0), moved.view(4, 4, 64), atol=1e-4)
    assert patches.shape == (2, 64, 4, 4)


@torch.inference_mode()
def test_mixed_precision_stays_near_float32(model: Capi) -> None:
    images = torch.rand(2, 3, 56, 56)
    (plain,) = model.block_states(images, [1])
    with torch.autocast("cpu", torch.bfloat16):
        (mixed,) = model.block_states(images, [1])
    assert 0 < float((plain - mixed.float()).abs().mean() / plain.abs().mean()) < 0.02


@torch.inference_mode()
def test_only_the_blocks_that_are_asked_for_run(model: Capi) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError

    model.blocks[1].register_forward_pre_hook(refuse)
    assert len(model.block_states(torch.rand(1, 3, 56, 56), [0])) == 1
